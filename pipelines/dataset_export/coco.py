"""Exports the dataset as COCO: `images/` and `annotations.json`. Masks become compressed run lengths. Columns that COCO
cannot represent are stored under a key of our own (`pipelines.interchange.carried`), which other tools ignore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.images import codec
from pipelines.adapters import coco_masks
from pipelines.dataset_export.types import name, type_names, untyped_name
from pipelines.interchange import carried


def content(rows: list[dict[str, Any]], data_dir: Path) -> dict[str, Any]:
    """Return the JSON document. Each box is an annotation with its part of the mask; a mask without boxes gets a box."""
    untyped = untyped_name(rows)
    kinds = type_names(rows)
    category = {kind: number for number, kind in enumerate([*kinds, None], start=1)}
    licences = sorted({row["licence"] for row in rows if row["licence"]})
    annotations: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    for number, row in enumerate(rows, start=1):
        entries, empty = _annotations(row, data_dir)
        sealed = carried.seal([kind, entry.get("bbox"), entry.get("segmentation")] for kind, entry in entries)
        for kind, entry in entries:
            head = {"id": len(annotations) + 1, "image_id": number, "category_id": category[kind], "iscrowd": 0}
            annotations.append(head | entry)
        image = {"id": number, "file_name": name(row), "width": row["width_px"], "height": row["height_px"]}
        if row["licence"]:
            image["license"] = licences.index(row["licence"]) + 1
        own = carried.carried(row, sealed) | ({"mask": "empty"} if empty else {})
        listed.append(image | {carried.KEY: own})
    categories: list[dict[str, Any]] = [
        {"id": category[kind], "name": kind, "supercategory": "defect"} for kind in kinds
    ]
    if any(entry["category_id"] == category[None] for entry in annotations):
        own = {carried.KEY: {"untyped": True}}
        categories.append({"id": category[None], "name": untyped, "supercategory": "defect"} | own)
    return {
        "licenses": [{"id": number, "name": text} for number, text in enumerate(licences, start=1)],
        "categories": categories,
        "images": listed,
        "annotations": annotations,
    }


def _annotations(row: dict[str, Any], data_dir: Path) -> tuple[list[tuple[str | None, dict[str, Any]]], bool]:
    """Return type and annotation of every box, and whether the image has an empty mask."""
    boxes: list[dict[str, Any]] = row["boxes"] or []
    mask = codec.read(data_dir / row["mask"])[..., 0] > 0 if row["mask"] else None
    if mask is not None and mask.any():
        boxes = boxes or [_around(mask) | {"defect_type": next(iter(row["defect_types"] or ()), None)}]
    shares = _shares(mask, boxes) if mask is not None else [None] * len(boxes)
    entries = []
    for box, share in zip(boxes, shares, strict=True):
        entry: dict[str, Any] = {"bbox": [box["x"], box["y"], box["width"], box["height"]]}
        entry["area"] = box["width"] * box["height"]
        if share is not None and share.any():
            entry |= {"area": int(share.sum()), "segmentation": coco_masks.to_runs(share)}
        entries.append((box["defect_type"], entry))
    return entries, mask is not None and not mask.any()


def _around(mask: np.ndarray) -> dict[str, Any]:
    at = np.argwhere(mask)
    (top, left), (bottom, right) = at.min(0).tolist(), at.max(0).tolist()
    return {"x": left, "y": top, "width": right - left + 1, "height": bottom - top + 1}


def _shares(mask: np.ndarray, boxes: list[dict[str, Any]]) -> list[np.ndarray]:
    """Assign the pixels of the mask to boxes: to the smallest box that contains them, or else to the nearest box."""
    rows, columns = np.nonzero(mask)
    far = (
        np.stack(
            [
                np.maximum.reduce([box["x"] - columns, columns + 1 - box["x"] - box["width"], np.zeros(len(rows))]) ** 2
                + np.maximum.reduce([box["y"] - rows, rows + 1 - box["y"] - box["height"], np.zeros(len(rows))]) ** 2
                for box in boxes
            ]
        )
        if boxes
        else np.zeros((0, len(rows)))
    )
    by_size = sorted(range(len(boxes)), key=lambda number: boxes[number]["width"] * boxes[number]["height"])
    nearest = np.array(by_size)[far[by_size].argmin(axis=0)] if boxes else np.zeros(0)
    shares = []
    for number in range(len(boxes)):
        share = np.zeros_like(mask)
        mine = nearest == number
        share[rows[mine], columns[mine]] = True
        shares.append(share)
    return shares
