"""Pictures for HTML pages."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image
from scipy import ndimage

from models.images import codec

TILE_PX = 240
OUTLINE = (255, 60, 60)


def data_uri(image: np.ndarray, tile_px: int = TILE_PX) -> str:
    """Return [H, W, C] pixels as a small JPEG in a data URI, because a page may contain hundreds of pictures."""
    picture = Image.fromarray(np.ascontiguousarray(codec.to_rgb8(image)))
    picture.thumbnail((tile_px, tile_px))
    sink = io.BytesIO()
    picture.save(sink, format="JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"


def outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return RGB uint8 with the border of `mask` in red. A mask of another size is resized to the image."""
    rgb = codec.to_rgb8(image).copy()
    if mask.shape != rgb.shape[:2]:
        mask = np.asarray(Image.fromarray(mask).resize(rgb.shape[1::-1], Image.Resampling.NEAREST))
    rgb[ndimage.binary_dilation(mask, iterations=2) & ~mask] = OUTLINE
    return rgb
