"""Regions in pixels of the inspected image, from a heatmap or from predicted boxes. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from models.vocabulary import Region

_MOST = 16  # regions per image, highest score first


def from_heatmap(heatmap: np.ndarray, threshold: float, *, width_px: int, height_px: int) -> tuple[Region, ...]:
    """Return boxes around the connected areas of `heatmap` [h, w] at or above `threshold`, scored by their peak."""
    hot = heatmap >= threshold
    if not hot.any():
        return ()
    from scipy import ndimage  # a third of a second, which a part without regions does not need

    labels, _ = ndimage.label(hot, structure=np.ones((3, 3)))
    down, right = height_px / heatmap.shape[0], width_px / heatmap.shape[1]
    regions = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        peak = float(heatmap[rows, columns][labels[rows, columns] == number].max())
        top, left = math.floor(rows.start * down), math.floor(columns.start * right)
        height, width = math.ceil(rows.stop * down) - top, math.ceil(columns.stop * right) - left
        regions.append(Region(x=left, y=top, width=width, height=height, score=peak))
    return tuple(sorted(regions, key=lambda region: -region.score)[:_MOST])


def from_boxes(
    boxes: np.ndarray, threshold: float, defect_types: Sequence[str], *, width_px: int, height_px: int
) -> tuple[Region, ...]:
    """Return the boxes with a score of at least `threshold`, highest score first.

    `boxes` [m, 6] holds left, top, right, bottom (as shares of width and height), score and class index.
    """
    regions = []
    for left, top, right, bottom, score, number in boxes[boxes[:, 4] >= threshold].astype(float):
        x, y = max(round(left * width_px), 0), max(round(top * height_px), 0)
        width, height = min(round(right * width_px), width_px) - x, min(round(bottom * height_px), height_px) - y
        if width > 0 and height > 0:
            regions.append(Region(x, y, width, height, score=score, defect_type=defect_types[int(number)]))
    return tuple(sorted(regions, key=lambda region: -region.score))
