"""A CSV or Parquet table of images: column `path`, and whichever of the others the sender knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.errors import BadData
from pipelines.ingest.deliveries import Delivery, Source

COLUMNS = (
    "path",
    "label",
    "part",
    "slice",
    "split",
    "defect_types",
    "defect_probability",
    "labelled_by",
    "labelled_at",
    "licence",
)


def read(manifest: Path, slice: str | None = None) -> Source:
    """Images that the table names, relative to its directory. Raises BadData for unknown columns and missing files."""
    rows = _rows(manifest)
    unknown = sorted(set(rows[0]) - set(COLUMNS)) if rows else []
    if unknown or not rows or "path" not in rows[0]:
        raise BadData(
            f"{manifest}: "
            + (f"unknown columns {', '.join(unknown)}." if unknown else "no rows with a column `path`."),
            next_step=f"Columns: {', '.join(COLUMNS)}.",
        )
    missing = [row["path"] for row in rows if not (manifest.parent / row["path"]).is_file()]
    if missing:
        raise BadData(
            f"{manifest}: {len(missing)} files don't exist (first: {missing[0]}).",
            next_step=f"Paths are relative to {manifest.parent}.",
        )
    return Source(manifest.resolve().stem, [_delivery(manifest.parent, row, slice) for row in rows])


def _rows(manifest: Path) -> list[dict[str, Any]]:
    from pyarrow import csv, parquet

    if manifest.suffix == ".parquet":
        return parquet.read_table(manifest).to_pylist()
    import pyarrow as pa

    text = dict.fromkeys(COLUMNS, pa.string()) | {"defect_probability": pa.float64()}
    options = csv.ConvertOptions(column_types=text, strings_can_be_null=True)
    return csv.read_csv(manifest, convert_options=options).to_pylist()


def _delivery(folder: Path, row: dict[str, Any], slice: str | None) -> Delivery:
    types = row.get("defect_types") or ()
    return Delivery(
        name=row["path"],
        read=(folder / row["path"]).read_bytes,
        part=row.get("part"),
        slice=row.get("slice") or slice or "default",
        label=row.get("label"),
        split=row.get("split"),
        defect_types=tuple(types.split(";")) if isinstance(types, str) else tuple(types),
        defect_probability=row.get("defect_probability"),
        labelled_by=row.get("labelled_by"),
        labelled_at=row.get("labelled_at"),
        licence=row.get("licence"),
    )
