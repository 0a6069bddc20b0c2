"""From heatmap to boxes: connected hot areas, in pixels of the inspected image. Pure."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from models.vocabulary import Region

_MOST = 16  # boxes of one image, the hottest first


def regions(heatmap: np.ndarray, threshold: float, *, width_px: int, height_px: int) -> tuple[Region, ...]:
    """Boxes around the connected areas of `heatmap` [h, w] at or above `threshold`; a region's score is its peak."""
    hot = heatmap >= threshold
    if not hot.any():
        return ()
    labels, _ = ndimage.label(hot, structure=np.ones((3, 3)))
    down, right = height_px / heatmap.shape[0], width_px / heatmap.shape[1]
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        peak = float(heatmap[rows, columns][labels[rows, columns] == number].max())
        top, left = math.floor(rows.start * down), math.floor(columns.start * right)
        height, width = math.ceil(rows.stop * down) - top, math.ceil(columns.stop * right) - left
        found.append(Region(x=left, y=top, width=width, height=height, score=peak))
    return tuple(sorted(found, key=lambda region: -region.score)[:_MOST])
