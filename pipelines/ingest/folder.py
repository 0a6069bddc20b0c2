"""A folder of images: one sub-folder per class, `good` for good parts, any other name for a type of defect."""

from __future__ import annotations

import re
from pathlib import Path

from models.errors import BadData
from models.vocabulary import Label
from pipelines.ingest.deliveries import Delivery, Source

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}
GOOD = {"good", "ok", "free", "normal"}


def is_good(name: str) -> bool:
    """Whether a folder's name says that its parts are good: good, ok, MT_Free, …"""
    return bool(GOOD & set(re.split(r"[^a-z]+", name.lower())))


def image_files(folder: Path) -> list[Path]:
    """Every image file below `folder`, sorted. Raises BadData when there is none."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise BadData(
            f"No images below {folder} ({', '.join(sorted(SUFFIXES))}).",
            next_step="Check the path: defectloop ingest FOLDER",
        )
    return files


def read(folder: Path, slice: str | None = None) -> Source:
    """Each image with the label of its sub-folder; images outside any sub-folder come without a label."""
    deliveries = [_delivery(path, path.relative_to(folder), slice or "default") for path in image_files(folder)]
    return Source(folder.resolve().name, deliveries)


def _delivery(path: Path, relative: Path, slice: str) -> Delivery:
    kind = relative.parts[0] if len(relative.parts) > 1 else None
    good = kind is not None and is_good(kind)
    return Delivery(
        name=relative.as_posix(),
        read=path.read_bytes,
        slice=slice,
        label=None if kind is None else (Label.GOOD if good else Label.DEFECT).value,
        defect_types=() if kind is None or good else (kind,),
        labelled_by=None if kind is None else f"folder {kind}",
    )
