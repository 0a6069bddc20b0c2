"""Finds the part on an image, and places defects on it rather than on the background."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

TRIES = 25
ON_PART = 0.95  # minimum share of a defect on the part
WINDOW = 5  # px
FLAT = 0.02  # maximum local variation of plain background, of full scale
PLAIN = 0.03  # maximum overall deviation of plain background, of full scale
APART = 0.15  # minimum difference of background and part, of full scale
EDGE_SHARE = 0.1  # minimum share of the image's border that background covers

Made = tuple[np.ndarray, np.ndarray]  # image float32 H×W×C in [0, 1], mask bool [h, w]


def on_part(image: np.ndarray) -> np.ndarray:
    """Return bool [h, w]: everything except plain background that touches the border. Pixels are float32 in [0, 1]."""
    grey = image.mean(axis=2)
    even = ndimage.maximum_filter(grey, WINDOW) - ndimage.minimum_filter(grey, WINDOW) < FLAT
    regions, _ = ndimage.label(even)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    part = np.ones(grey.shape, bool)
    for region in np.unique(border[border > 0]):
        inside = regions == region
        if (border == region).mean() < EDGE_SHARE or grey[inside].std() > PLAIN or inside.all():
            continue
        if abs(np.median(grey[inside]) - np.median(grey[~inside])) > APART:
            part &= ~ndimage.binary_dilation(inside, np.ones((WINDOW, WINDOW)))  # the filters do not reach its border
    return part if part.mean() > 0.1 else np.ones_like(part)


def place(part: np.ndarray, make: Callable[[], Made | None]) -> Made | None:
    """Return the first attempt whose defect lies on `part`, or None."""
    for _ in range(TRIES):
        made = make()
        if made is not None and made[1].any() and part[made[1]].mean() >= ON_PART:
            return made
    return None
