"""Pictures inside a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from models import images

TILE_PX = 240


def data_uri(image: np.ndarray, tile_px: int = TILE_PX) -> str:
    """H×W×C pixels, made small, as JPEG: a page holds hundreds."""
    picture = Image.fromarray(np.ascontiguousarray(images.to_rgb8(image)))
    picture.thumbnail((tile_px, tile_px))
    sink = io.BytesIO()
    picture.save(sink, format="JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"
