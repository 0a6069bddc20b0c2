"""Names shared by the formats: of images, of defect types, and of boxes without a type."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def name(row: dict[str, Any]) -> str:
    """Return the image's file name, which is its hash."""
    return Path(row["file"]).name


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
