"""Hand the dataset over as YOLO: `images/SPLIT/`, `labels/SPLIT/` and `data.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from models.vocabulary import Split

FOLDERS = {Split.TRAIN: "train", Split.VALIDATION: "val", Split.TEST: "test"}
NO_TYPE = "defect"


def label_files(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Path to content, `data.yaml` included. An image whose boxes nobody stated gets no label file."""
    kinds = sorted({box["defect_type"] or NO_TYPE for row in rows for box in row["boxes"] or ()}) or [NO_TYPE]
    files = {
        "data.yaml": yaml.safe_dump(
            {"path": ".", **{folder: f"images/{folder}" for folder in FOLDERS.values()}, "names": kinds},
            sort_keys=False,
        )
    }
    for row in rows:
        if row["boxes"] is not None:
            path = Path(image_path(row)).with_suffix(".txt")
            lines = [_line(box, row, kinds) for box in row["boxes"]]
            files[f"labels/{path.relative_to('images').as_posix()}"] = "".join(f"{line}\n" for line in lines)
    return files


def image_path(row: dict[str, Any]) -> str:
    return f"images/{FOLDERS[Split(row['split'])]}/{Path(row['file']).name}"


def _line(box: dict[str, Any], row: dict[str, Any], kinds: list[str]) -> str:
    width, height = row["width_px"], row["height_px"]
    shares = (
        (box["x"] + box["width"] / 2) / width,
        (box["y"] + box["height"] / 2) / height,
        box["width"] / width,
        box["height"] / height,
    )
    return " ".join([str(kinds.index(box["defect_type"] or NO_TYPE)), *(f"{share:.12g}" for share in shares)])
