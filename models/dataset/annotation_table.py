"""The one table about images, `data/annotations.parquet`: its columns, and reading and writing it byte for byte alike.

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
        pa.field("slice", pa.string(), nullable=False),  # a group worth measuring alone: material, light, camera
        pa.field("split", pa.string()),  # train, validation or test: decided at entry, never changed
        pa.field("split_stated", pa.bool_()),  # whether it came with that split; null in rows of older versions
        pa.field("label", pa.string()),  # good, defect, or null: nobody has said yet
        pa.field("defect_types", pa.list_(pa.string())),
        pa.field("defect_probability", pa.float64()),  # graded ground truth, where the source has it
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
        pa.field("source", pa.string(), nullable=False),  # the delivery it came with
        pa.field("source_path", pa.string(), nullable=False),  # its name in that delivery
        pa.field("licence", pa.string()),
        pa.field("synthetic", pa.bool_(), nullable=False),  # made, not photographed: training split only
        pa.field("width_px", pa.int32()),
        pa.field("height_px", pa.int32()),
        pa.field("channels", pa.int32()),
        pa.field("bit_depth", pa.int32()),
        pa.field("format", pa.string()),  # PNG, JPEG, TIFF, BMP, WEBP
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("decode_error", pa.string()),  # why the bytes are no image, null where they are
        pa.field("accepted_by", pa.string()),  # who released it from quarantine in spite of what the contract says
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
    """Rows as dicts with the schema's keys; absent keys become null (not for `nullable=False` fields)."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def load(path: Path) -> pa.Table:
    """Read the table; an absent file is an empty table."""
    return _read(path) if path.exists() else empty()


def files(path: Path) -> list[str]:
    """Every image and mask that the table names, below `data/`; an absent table names none."""
    if not path.exists():
        return []
    table = _read(path, columns=["file", "mask"])
    named = [*table["file"].to_pylist(), *table["mask"].drop_null().to_pylist()]
    return list(dict.fromkeys(named))


def load_hashed(path: Path) -> tuple[pa.Table, str]:
    """The table, and the SHA-256 of the very bytes that it was read from: what follows from it can be kept under that."""
    data = path.read_bytes()
    return _read(path, data), hashlib.sha256(data).hexdigest()


def _read(path: Path, data: bytes | None = None, columns: list[str] | None = None) -> pa.Table:
    """Raises BadData for what is no such table: other bytes, a column missing that every row needs, or of another type."""
    source = path if data is None else pa.BufferReader(data)
    try:
        with pq.ParquetFile(source) as opened:
            stored = opened.schema_arrow
        for field in SCHEMA:
            if not field.nullable and field.name not in stored.names:
                raise pa.ArrowInvalid(f"column {field.name} is missing")
        table = pq.read_table(path if data is None else pa.BufferReader(data), columns=columns, schema=SCHEMA)
        for field in table.schema:
            if not field.nullable and table[field.name].null_count:
                raise pa.ArrowInvalid(f"column {field.name} lacks values")
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's fault, not the table's
            raise
        reason = (str(error).strip().splitlines() or ["it can't be read"])[0].rstrip(".")
        raise BadData(
            f"{path} is damaged: {reason}.",
            next_step="Bring back the last snapshot's: defectloop audit --hashes --repair",
        ) from error
    return table


def save(table: pa.Table, path: Path) -> None:
    """Write atomically (temporary file, fsync, rename), sorted by image, so that equal content gives equal bytes.

    Raises BadData when a synthetic image is anywhere but in the training split.
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
            next_step="Nothing that was made may be measured on: give their parts names of their own.",
        )
    table = table.cast(SCHEMA).replace_schema_metadata(None).sort_by("image")
    with replacing(path) as sink:
        pq.write_table(table, sink, compression="zstd", store_schema=False)
