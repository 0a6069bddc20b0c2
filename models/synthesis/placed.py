"""Where on an image the part is, and defects that lie on it and not beside it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

TRIES = 25
ON_PART = 0.95  # share of a defect that must lie on the part
FLAT = 0.02  # of full scale: plain background varies less, part and all

Made = tuple[np.ndarray, np.ndarray]  # image float32 H×W×C in [0, 1], mask bool [h, w]


def on_part(image: np.ndarray) -> np.ndarray:
    """bool [h, w]: everything but the plain background that touches the border. Pixels float32 in [0, 1]."""
    grey = image.mean(axis=2)
    even = ndimage.maximum_filter(grey, 5) - ndimage.minimum_filter(grey, 5) < FLAT
    regions, _ = ndimage.label(even)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    touching = np.unique(border[border > 0])
    part = ~np.isin(regions, touching)
    return part if part.mean() > 0.1 else np.ones_like(part)


def place(image: np.ndarray, make: Callable[[], Made | None]) -> Made | None:
    """The first of some tries whose defect lies on the part; None when none does."""
    part = on_part(image)
    for _ in range(TRIES):
        made = make()
        if made is not None and made[1].any() and part[made[1]].mean() >= ON_PART:
            return made
    return None
