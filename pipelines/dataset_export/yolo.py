"""Exports the dataset as YOLO: `images/SPLIT/`, `labels/SPLIT/` with boxes or polygons around masks, and `data.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from models.images import codec
from models.vocabulary import Label, Split
from pipelines.dataset_export.outlines import outlines
from pipelines.dataset_export.types import name, type_names, untyped_name
from pipelines.interchange import carried

FOLDERS = {Split.TRAIN: "train", Split.VALIDATION: "val", Split.TEST: "test"}
NO_SPLIT = "unsplit"  # ignored by trainers; ingest reads it as images without a split


@dataclass(frozen=True)
class Classes:
    """Class number of every defect type, and of None if anything has no type."""

    names: list[str]
    number: dict[str | None, int]


def classes(rows: list[dict[str, Any]]) -> Classes:
    kinds: list[str | None] = list(type_names(rows))
    names = [str(kind) for kind in kinds]
    boxes_untyped = any(not box["defect_type"] for row in rows for box in row["boxes"] or ())
    if boxes_untyped or any(row["mask"] and not row["defect_types"] for row in rows) or not kinds:
        names.append(untyped_name(rows))
        kinds.append(None)
    return Classes(names, {kind: at for at, kind in enumerate(kinds)})


def data_file(classes: Classes) -> str:
    own = {carried.KEY: {"untyped": classes.number[None]}} if None in classes.number else {}
    folders = {folder: f"images/{folder}" for folder in FOLDERS.values()}
    content = {"path": ".", **folders, "names": dict(enumerate(classes.names)), **own}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def lines(row: dict[str, Any], data_dir: Path, classes: Classes) -> tuple[list[str] | None, list[str]]:
    """Return the lines of a label file, one per box or area of a mask, and what they cannot represent.

    A good image has no lines. The lines are None for an image without a label, or without boxes and mask.
    """
    boxes, mask = row["boxes"] or [], row["mask"]
    if boxes or row["label"] == Label.GOOD:
        wrong = ["label that its boxes contradict"] if boxes and row["label"] != Label.DEFECT else []
        numbers = [classes.number[box["defect_type"] or None] for box in boxes]
        written = [_line(number, _box(box), row) for number, box in zip(numbers, boxes, strict=True)]
        return written, wrong + (["mask besides boxes"] if boxes and mask else ["mask of a good image"] if mask else [])
    if mask is None or row["label"] is None:
        return None, ["mask of an unlabelled image"] if mask else ["label without boxes or mask"] if row[
            "label"
        ] else []
    loops, holes = outlines(codec.read(data_dir / mask)[..., 0] > 0)
    number = classes.number[next(iter(row["defect_types"] or ()), None)]
    written = [_line(number, [side for corner in loop for side in corner], row) for loop in loops]
    lost = (["hole in a mask"] if holes else []) + ([] if loops else ["empty mask, with its label"])
    return written or None, lost


def image_path(row: dict[str, Any]) -> str:
    return f"images/{FOLDERS[Split(row['split'])] if row['split'] else NO_SPLIT}/{name(row)}"


def label_path(row: dict[str, Any]) -> str:
    return f"labels/{Path(image_path(row)).relative_to('images').with_suffix('.txt').as_posix()}"


def _box(box: dict[str, Any]) -> list[float]:
    return [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"], box["height"]]


def _line(number: int, pixels: Sequence[float], row: dict[str, Any]) -> str:
    """Return a line with the class and the coordinates, alternating x and y, relative to the image size."""
    sides = (row["width_px"], row["height_px"])
    return " ".join([str(number), *(f"{value / sides[at % 2]:.12g}" for at, value in enumerate(pixels))])
