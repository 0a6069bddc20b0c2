"""Hand the dataset over as YOLO: `images/SPLIT/`, `labels/SPLIT/` and `data.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from models.vocabulary import Label, Split
from pipelines.handover.types import name, type_names, untyped_name
from pipelines.interchange import carried

FOLDERS = {Split.TRAIN: "train", Split.VALIDATION: "val", Split.TEST: "test"}
NO_SPLIT = "unsplit"  # which no trainer reads, and ingest takes for what it is


def label_files(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Path and content, `data.yaml` first. An image of which nobody said what it shows gets no label file."""
    kinds: list[str | None] = list(type_names(rows))
    names = list(kinds)
    own = {}
    if any(not box["defect_type"] for row in rows for box in row["boxes"] or ()) or not kinds:
        names.append(untyped_name(rows))
        own = {carried.KEY: {"untyped": len(kinds)}}
        kinds.append(None)
    folders = {folder: f"images/{folder}" for folder in FOLDERS.values()}
    yield (
        "data.yaml",
        yaml.safe_dump(
            {"path": ".", **folders, "names": dict(enumerate(names)), **own}, sort_keys=False, allow_unicode=True
        ),
    )
    number = {kind: at for at, kind in enumerate(kinds)}
    for row in rows:
        if stated(row):
            path = Path(image_path(row)).relative_to("images").with_suffix(".txt")
            lines = (_line(box, row, number[box["defect_type"] or None]) for box in row["boxes"] or ())
            yield f"labels/{path.as_posix()}", "".join(f"{line}\n" for line in lines)


def stated(row: dict[str, Any]) -> bool:
    """Whether a label file can say it: a line per box means defective, an empty file means good."""
    return bool(row["boxes"]) or row["label"] == Label.GOOD


def image_path(row: dict[str, Any]) -> str:
    return f"images/{FOLDERS[Split(row['split'])] if row['split'] else NO_SPLIT}/{name(row)}"


def _line(box: dict[str, Any], row: dict[str, Any], number: int) -> str:
    width, height = row["width_px"], row["height_px"]
    shares = (
        (box["x"] + box["width"] / 2) / width,
        (box["y"] + box["height"] / 2) / height,
        box["width"] / width,
        box["height"] / height,
    )
    return " ".join([str(number), *(f"{share:.12g}" for share in shares)])
