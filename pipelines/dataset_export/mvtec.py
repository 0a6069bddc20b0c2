"""Exports the dataset in the MVTec AD layout, one folder per slice: good training parts, and the test split."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from models.vocabulary import Label, Split
from pipelines.dataset_export.types import name

NO_TYPE = "defect"


def held(row: dict[str, Any]) -> bool:
    """Return whether the layout can represent the image. It cannot represent defective training parts."""
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
    """Return the text as a safe name of a single folder."""
    return re.sub(r"[/\\\x00:]|^\.+", "_", text).strip() or "_"
