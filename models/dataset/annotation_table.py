"""The annotation table `data/annotations.parquet`: its columns, and reproducible reading and writing.

One row per image, sorted by image, so that the same content always has the same hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import BadData
from models.files import replacing
from models.vocabulary import Split

SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),  # SHA-256 of the original bytes
        pa.field("file", pa.string(), nullable=False),  # below data/: images/ab/<sha256>.<ext>
        pa.field("line", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("slice", pa.string(), nullable=False),  # group that is measured separately: material, light, camera
        pa.field("split", pa.string()),  # train, validation or test: assigned at ingest
        pa.field("split_stated", pa.bool_()),  # whether the delivery stated the split; null in rows of older versions
        pa.field("label", pa.string()),  # good, defect, or null if not labelled yet
        pa.field("defect_types", pa.list_(pa.string())),
        pa.field("defect_probability", pa.float64()),  # graded ground truth, if the source has it
        pa.field("mask", pa.string()),  # below data/: masks/ab/<sha256>.png
        pa.field(
            "boxes",
            pa.list_(
                pa.struct(
                    [
                        ("x", pa.float64()),
                        ("y", pa.float64()),
                        ("width", pa.float64()),
                        ("height", pa.float64()),
                        ("defect_type", pa.string()),
                    ]
                )
            ),
        ),  # pixels
        pa.field("labelled_by", pa.string()),
        pa.field("labelled_at", pa.string()),  # ISO 8601
        pa.field("source", pa.string(), nullable=False),  # name of the delivery
        pa.field("source_path", pa.string(), nullable=False),  # path in the delivery
        pa.field("licence", pa.string()),
        pa.field("synthetic", pa.bool_(), nullable=False),  # synthetic images are only in the training split
        pa.field("width_px", pa.int32()),
        pa.field("height_px", pa.int32()),
        pa.field("channels", pa.int32()),
        pa.field("bit_depth", pa.int32()),
        pa.field("format", pa.string()),  # PNG, JPEG, TIFF, BMP, WEBP
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("decode_error", pa.string()),  # why the bytes cannot be decoded, or null
        pa.field("accepted_by", pa.string()),  # who released it from quarantine in spite of the contract
        pa.field("accepted_at", pa.string()),  # ISO 8601
        pa.field("brightness", pa.float64()),  # this and the next four: models.images.descriptors.describe, white is 1
        pa.field("contrast", pa.float64()),
        pa.field("sharpness", pa.float64()),
        pa.field("noise", pa.float64()),
        pa.field("saturation", pa.float64()),
    ]
)


def empty() -> pa.Table:
    return SCHEMA.empty_table()


def from_rows(rows: list[dict]) -> pa.Table:
    """Return a table from dicts with the schema's keys. Missing keys become null (not for `nullable=False` fields)."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def load(path: Path) -> pa.Table:
    """Read the table. A missing file gives an empty table. Raises BadData for a damaged one."""
    return _read(path) if path.exists() else empty()


def files(path: Path) -> list[str]:
    """Return the paths of all images and masks in the table, relative to `data/`."""
    if not path.exists():
        return []
    table = _read(path, columns=["file", "mask"])
    named = [*table["file"].to_pylist(), *table["mask"].drop_null().to_pylist()]
    return list(dict.fromkeys(named))


def load_hashed(path: Path) -> tuple[pa.Table, str]:
    """Return the table, and the SHA-256 of the bytes that it was read from, for use as a cache key."""
    data = path.read_bytes()
    return _read(path, data), hashlib.sha256(data).hexdigest()


def _read(path: Path, data: bytes | None = None, columns: list[str] | None = None) -> pa.Table:
    """Read the table. Raises BadData if it is damaged, or if a column is missing or has another type."""
    source = path if data is None else pa.BufferReader(data)
    try:
        with pq.ParquetFile(source) as opened:  # pq.read_table would import pandas
            stored = opened.schema_arrow
            for field in SCHEMA:
                if not field.nullable and field.name not in stored.names:
                    raise pa.ArrowInvalid(f"column {field.name} is missing")
            fields = [field for field in SCHEMA if columns is None or field.name in columns]
            found = opened.read([field.name for field in fields if field.name in stored.names])
        table = pa.Table.from_arrays(
            [
                found[field.name].cast(field.type) if field.name in stored.names else pa.nulls(len(found), field.type)
                for field in fields
            ],
            schema=pa.schema(fields),
        )
        for field in table.schema:
            if not field.nullable and table[field.name].null_count:
                raise pa.ArrowInvalid(f"column {field.name} lacks values")
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # an error of the disk
            raise
        reason = (str(error).strip().splitlines() or ["it cannot be read"])[0].rstrip(".")
        raise BadData(
            f"{path} is damaged: {reason}.",
            next_step="Restore it from the last snapshot: defectloop audit --hashes --repair",
        ) from error
    return table


def save(table: pa.Table, path: Path) -> None:
    """Write the table atomically, sorted by image, so that equal content gives equal bytes.

    Raises BadData if a synthetic image is not in the training split.
    """
    made = table.filter(table["synthetic"])
    astray = [
        path
        for path, split in zip(made["source_path"].to_pylist(), made["split"].to_pylist(), strict=True)
        if split != Split.TRAIN
    ]
    if astray:
        raise BadData(
            f"{len(astray)} synthetic images are not in the training split (first: {astray[0]}).",
            next_step="Give their parts separate names: synthetic images must not be used for evaluation.",
        )
    table = table.cast(SCHEMA).replace_schema_metadata(None).sort_by("image")
    with replacing(path) as sink:
        pq.write_table(table, sink, compression="zstd", store_schema=False)
