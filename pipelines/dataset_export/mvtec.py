"""Hand the dataset over in the MVTec AD layout, a folder per slice: good parts to learn from, the test split to test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from models.vocabulary import Label, Split
from pipelines.dataset_export.types import name

NO_TYPE = "defect"


def held(row: dict[str, Any]) -> bool:
    """Defective training parts have no place in the layout."""
    return bool(row["label"]) and (row["split"] == Split.TEST or row["label"] == Label.GOOD)


def image_path(row: dict[str, Any]) -> str:
    side = "test" if row["split"] == Split.TEST else "train"
    return f"{folder_name(row['slice'])}/{side}/{kind(row)}/{name(row)}"


def mask_path(row: dict[str, Any]) -> str:
    return f"{folder_name(row['slice'])}/ground_truth/{kind(row)}/{Path(name(row)).stem}_mask.png"


def kind(row: dict[str, Any]) -> str:
    if row["label"] == Label.GOOD:
        return "good"
    return folder_name(next(iter(row["defect_types"] or ()), NO_TYPE))


def folder_name(text: str) -> str:
    """The text as the name of one folder, which stays where it is put."""
    return re.sub(r"[/\\\x00:]|^\.+", "_", text).strip() or "_"
