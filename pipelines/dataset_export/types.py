"""What the formats share: an image's name, and the types of defect with a name for those that nobody typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def name(row: dict[str, Any]) -> str:
    """The image's file name: its hash, which every other record of it uses."""
    return Path(row["file"]).name


def type_names(rows: list[dict[str, Any]]) -> list[str]:
    """Every type of defect that an image or a box has, sorted."""
    of_images = {kind for row in rows for kind in row["defect_types"] or ()}
    return sorted(of_images | {box["defect_type"] for row in rows for box in row["boxes"] or () if box["defect_type"]})


def untyped_name(rows: list[dict[str, Any]]) -> str:
    """What a box is called whose type nobody said; no type has this name."""
    names = set(type_names(rows))
    return next(
        word for word in ("defect", "untyped defect", "untyped defect " + "_" * len(names)) if word not in names
    )
