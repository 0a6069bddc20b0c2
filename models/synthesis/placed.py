"""Where on an image the part is, and defects that lie on it and not beside it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

TRIES = 25
ON_PART = 0.95  # share of a defect that must lie on the part
WINDOW = 5  # px
FLAT = 0.02  # of full scale: plain background varies less, from pixel to pixel
PLAIN = 0.03  # of full scale: likewise, as a whole
APART = 0.15  # of full scale: how much background and part differ
EDGE_SHARE = 0.1  # of the image's border that background covers at least

Made = tuple[np.ndarray, np.ndarray]  # image float32 H×W×C in [0, 1], mask bool [h, w]


def on_part(image: np.ndarray) -> np.ndarray:
    """bool [h, w]: everything but plain background that touches the border. Pixels float32 in [0, 1]."""
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
            part &= ~ndimage.binary_dilation(inside, np.ones((WINDOW, WINDOW)))  # the filters kept off its border
    return part if part.mean() > 0.1 else np.ones_like(part)


def place(part: np.ndarray, make: Callable[[], Made | None]) -> Made | None:
    """The first of some tries whose defect lies on `part`; None when none does."""
    for _ in range(TRIES):
        made = make()
        if made is not None and made[1].any() and part[made[1]].mean() >= ON_PART:
            return made
    return None
