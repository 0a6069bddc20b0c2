"""Reads ground-truth masks: white where defective. Compressed masks may have grey edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from models.images import codec

WHITE = 127  # of 255; brighter pixels are defective


def read(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return the defective pixels as bool [height, width], resized to `size` (height, width) if given."""
    grey = codec.to_rgb8(codec.read(path))[..., 0]
    if size is not None and grey.shape != size:
        grey = np.asarray(Image.fromarray(grey).resize(size[::-1], Image.Resampling.NEAREST))
    return np.asarray(grey > WHITE)
