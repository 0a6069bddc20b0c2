"""A CSV or Parquet table of images, with a column `path` and any of the optional columns in `COLUMNS`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from models.errors import BadData
from models.vocabulary import Label
from pipelines.ingest import shapes, splits
from pipelines.ingest.deliveries import Box, Delivery, Source
from pipelines.ingest.delivery_folder import DeliveryFolder
from pipelines.ingest.texts import read_text

COLUMNS = (
    "path",
    "label",
    "part",
    "slice",
    "split",
    "defect_types",  # separated by semicolons
    "defect_probability",
    "mask",  # path of an image in which defects are bright
    "boxes",  # JSON: [{"x": 1, "y": 2, "width": 3, "height": 4, "defect_type": "scratch"}, …], pixels
    "labelled_by",
    "labelled_at",
    "licence",
    "synthetic",
)
_TEXTS = ("path", "mask", "label", "split")
_TRUE = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
Row = dict[str, Any]


def read(folder: DeliveryFolder, slice: str | None = None) -> Source:
    """Read the images that the table names, relative to its directory. Raises BadData with the line or row number."""
    manifest = folder.named
    rows = (_parquet if manifest.suffix.lower() == ".parquet" else _csv)(folder, manifest)
    columns = rows[0][1] if rows else {}
    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown or "path" not in columns:
        raise BadData(
            f"{manifest}, line 1: unknown columns {', '.join(map(str, unknown))}."
            if unknown
            else f"{manifest}: no rows with a column `path`.",
            next_step=f"Columns: {', '.join(COLUMNS)}.",
        )
    missing: list[str] = []
    where_of: dict[str, str] = {}
    for where, row in rows:
        _require_texts(row, where)
        if not row["path"]:
            raise BadData(f"{where}: the path is missing.", next_step="Add the path of the image file.")
        if row["path"] in where_of:
            raise BadData(
                f"{where}: {row['path']} is listed before, in {where_of[row['path']]}.",
                next_step="Keep one of the two.",
            )
        where_of[row["path"]] = where.rsplit(", ", 1)[-1]
        files = [row[name] for name in ("path", "mask") if row.get(name)]
        missing += [f"{file}, {where_of[row['path']]}" for file in files if not folder.file(manifest.parent / file)]
    if missing:
        raise BadData(
            f"{manifest}: {len(missing)} files do not exist (first: {missing[0]}).",
            next_step=f"Paths are relative to {manifest.parent}.",
        )
    return Source(manifest.resolve().stem, [_delivery(folder, row, slice, where) for where, row in rows])


def _csv(folder: DeliveryFolder, manifest: Path) -> list[tuple[str, Row]]:
    """Return the rows, each with the line that it begins on. Empty fields are missing values."""
    text = read_text(folder, manifest)
    head = text.split("\n", 1)[0]
    delimiter = ";" if ";" in head and "," not in head else ","  # spreadsheets in locales with a decimal comma
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[str, Row]] = []
    names: list[str] = []
    line = 1
    try:
        for values in reader:
            where, line = f"{manifest}, line {line}", reader.line_num + 1
            if not values:
                continue
            if not names:
                names = [value.strip() for value in values]
                if twice := [name for name, n in Counter(names).items() if n > 1]:
                    raise BadData(f"{where}: the column {twice[0]!r} occurs twice.", next_step="Keep one of the two.")
                continue
            if len(values) != len(names):
                raise BadData(
                    f"{where}: {len(values)} fields, but the header has {len(names)}.",
                    next_step="Correct the line. Fields that contain a comma or a quote must be quoted.",
                )
            rows.append((where, {name: value or None for name, value in zip(names, values, strict=True)}))
    except csv.Error as error:
        raise BadData(f"{manifest}, line {line}: {error}.", next_step="Correct the line.") from error
    return rows


def _parquet(folder: DeliveryFolder, manifest: Path) -> list[tuple[str, Row]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        rows = parquet.read_table(pa.BufferReader(folder.read(manifest))).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise BadData(f"{manifest} is not a valid Parquet file: {error}", next_step="Create it again.") from error
    return [(f"{manifest}, row {number}", row) for number, row in enumerate(rows, start=1)]


def _delivery(folder: DeliveryFolder, row: Row, slice: str | None, where: str) -> Delivery:
    split = row.get("split")
    if split is not None and split not in splits.NAMED:
        raise BadData(f"{where}: unknown split {split!r}.", next_step="Splits: train, validation, test.")
    label = row.get("label")
    if label is not None and label not in set(Label):
        raise BadData(
            f"{where}: unknown label {label!r}.",
            next_step=f"Labels: {', '.join(Label)}. Put the kind of defect into the column defect_types.",
        )
    types = _types(row.get("defect_types"), where)
    beside = folder.named.parent
    return Delivery(
        name=row["path"],
        read=partial(folder.read, beside / row["path"]),
        part=_text(row.get("part")),
        slice=_text(row.get("slice")) or slice or "default",
        label=label,
        split=None if split is None else splits.NAMED[split].value,
        defect_types=types,
        defect_probability=_probability(row.get("defect_probability"), where),
        mask=partial(folder.read, beside / row["mask"]) if row.get("mask") else None,
        boxes=_boxes(row.get("boxes"), where),
        labelled_by=_text(row.get("labelled_by")),
        labelled_at=_text(row.get("labelled_at")),
        licence=_text(row.get("licence")),
        synthetic=_truth(row.get("synthetic"), where),
    )


def _require_texts(row: Row, where: str) -> None:
    """Check the types of the values, because a Parquet column can hold any type. Raises BadData."""
    for name in _TEXTS:
        if not isinstance(row.get(name), str | None):
            raise BadData(
                f"{where}: its {name} {str(row[name])[:60]} is not text.", next_step="Write the column as text."
            )
    for name in set(row) - {*_TEXTS, "boxes", "defect_types"}:
        if isinstance(row[name], bytes | dict | list):
            raise BadData(
                f"{where}: its {name} {str(row[name])[:60]} is not a single value.",
                next_step="Write the column as text.",
            )


def _text(value: Any) -> str | None:
    """Return a value as text. Parquet has numbers and times where CSV has text; pandas writes missing values as NaN."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or isinstance(value, str):
        return value or None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _types(value: Any, where: str) -> tuple[str, ...]:
    types = value.split(";") if isinstance(value, str) else value or ()
    if not isinstance(types, list | tuple) or not all(isinstance(kind, str) for kind in types):
        raise BadData(
            f"{where}: its defect_types {str(value)[:60]} are not a list of texts.",
            next_step="Write a list of names; in CSV, separate them with semicolons.",
        )
    return tuple(filter(None, map(str.strip, types)))


def _probability(value: Any, where: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise BadData(f"{where}: defect_probability {value!r} is not a number from 0 to 1.", next_step="Correct it.")
    return number


def _truth(value: Any, where: str) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    if str(value).lower() not in _TRUE:
        raise BadData(f"{where}: synthetic {value!r} is neither true nor false.", next_step="Correct it.")
    return _TRUE[str(value).lower()]


def _boxes(value: Any, where: str) -> list[Box] | None:
    if value is None:
        return None
    try:
        items = json.loads(value) if isinstance(value, str) else list(value)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise TypeError("not a list of objects")
        sides = [[item[side] for side in ("x", "y", "width", "height")] for item in items]
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise BadData(
            f"{where}: its boxes cannot be read: {reason}.",
            next_step='Write [{"x": 1, "y": 2, "width": 3, "height": 4, "defect_type": "scratch"}].',
        ) from error
    return [shapes.box(side, item.get("defect_type"), where) for side, item in zip(sides, items, strict=True)]
