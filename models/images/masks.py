"""Ground-truth masks as people deliver them: white where defective, often compressed to greys. Reads images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from models.images import codec

WHITE = 127  # of 255: above it lies the defect


def read(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """bool [height, width] of the defective pixels; of `size` (height, width), where the mask's own differs from it."""
    grey = codec.to_rgb8(codec.read(path))[..., 0]
    if size is not None and grey.shape != size:
        grey = np.asarray(Image.fromarray(grey).resize(size[::-1], Image.Resampling.NEAREST))
    return np.asarray(grey > WHITE)
