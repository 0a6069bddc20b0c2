"""Names shared by the formats: of images, of defect types, and of boxes without a type."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from models import names

_NAME = "export_name"  # of a row: the file name of its image in the export


def with_names(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with a file name for each image: that of its delivery. Names that differ only in suffix or case would
    overwrite each other's files, so they get the beginning of the image's hash."""
    stems = [names.for_file(PurePosixPath(row["source_path"]).stem or row["image"]) for row in rows]
    n_of = Counter(stem.casefold() for stem in stems)
    named = []
    for row, stem in zip(rows, stems, strict=True):
        unique = stem if n_of[stem.casefold()] == 1 else names.for_file(f"{stem}-{row['image'][:16]}")
        named.append(row | {_NAME: unique + Path(row["file"]).suffix})
    return named


def name(row: dict[str, Any]) -> str:
    """Return the file name that `with_names` gave the image."""
    return str(row[_NAME])


def type_names(rows: list[dict[str, Any]]) -> list[str]:
    """Return all defect types of images and boxes, sorted."""
    of_images = {kind for row in rows for kind in row["defect_types"] or ()}
    return sorted(of_images | {box["defect_type"] for row in rows for box in row["boxes"] or () if box["defect_type"]})


def untyped_name(rows: list[dict[str, Any]]) -> str:
    """Return a name for boxes without a type that differs from all types."""
    names = set(type_names(rows))
    return next(
        word for word in ("defect", "untyped defect", "untyped defect " + "_" * len(names)) if word not in names
    )
