"""Hand the dataset over as COCO: `images/` and `annotations.json`. Masks become uncompressed run lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models import images
from pipelines import kept

NO_TYPE = "defect"


def content(rows: list[dict[str, Any]], data_dir: Path) -> dict[str, Any]:
    """The JSON document. Each box is an annotation; a mask goes with its own bounding box where there are no boxes."""
    kinds = sorted(
        {box["defect_type"] or NO_TYPE for row in rows for box in row["boxes"] or ()}
        | {kind for row in rows if row["mask"] for kind in row["defect_types"] or (NO_TYPE,)}
    )
    category = {kind: number for number, kind in enumerate(kinds, start=1)}
    annotations: list[dict[str, Any]] = []
    for number, row in enumerate(rows, start=1):
        for entry in _annotations(row, data_dir):
            kind = entry.pop("kind")
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": category[kind], "iscrowd": 0} | entry
            )
    return {
        "categories": [{"id": number, "name": kind} for kind, number in category.items()],
        "images": [
            {"id": number, "file_name": name(row), "width": row["width_px"], "height": row["height_px"]}
            | {kept.KEY: kept.of_row(row)}
            for number, row in enumerate(rows, start=1)
        ],
        "annotations": annotations,
    }


def name(row: dict[str, Any]) -> str:
    """The image's file name: its hash, which every other record of it uses."""
    return Path(row["file"]).name


def _annotations(row: dict[str, Any], data_dir: Path) -> list[dict[str, Any]]:
    boxes = [
        {
            "kind": box["defect_type"] or NO_TYPE,
            "bbox": [box["x"], box["y"], box["width"], box["height"]],
            "area": box["width"] * box["height"],
        }
        for box in row["boxes"] or ()
    ]
    if row["mask"] is None:
        return boxes
    mask = images.read(data_dir / row["mask"])[..., 0] > 0
    if not mask.any():
        return boxes
    shape = {"size": list(mask.shape), "counts": run_lengths(mask)}
    if boxes:  # the mask is of the image as a whole; COCO wants it with one of its boxes
        return [boxes[0] | {"segmentation": shape, "area": int(mask.sum())}, *boxes[1:]]
    (top, left), (bottom, right) = np.argwhere(mask).min(0).tolist(), np.argwhere(mask).max(0).tolist()
    kind = next(iter(row["defect_types"] or ()), NO_TYPE)
    bbox = [left, top, right - left + 1, bottom - top + 1]
    carrier = {"kind": kind, "bbox": bbox, "area": int(mask.sum()), "segmentation": shape}
    return [carrier | {kept.KEY: {kept.MASK_ONLY: True}}]


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's counts: lengths of runs down the columns, beginning with zeros. `mask` bool [h, w]."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs
