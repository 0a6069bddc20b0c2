"""Facts in the header of an image file: compression, camera, exposure."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from models.images.codec import FORMATS

# The sum of JPEG's example luminance table (ITU-T T.81, annex K): quality 50 in libjpeg's scale.
_TABLE_SUM = 3688


def read(path: Path) -> dict[str, str | None]:
    """Return compression, camera and exposure; None for missing values and broken headers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as opened:
                exif = opened.getexif()
                detail = exif.get_ifd(ExifTags.IFD.Exif)
                exposure = detail.get(ExifTags.Base.ExposureTime)
                return {
                    "compression": _compression(opened),
                    "camera": str(exif[ExifTags.Base.Model]) if ExifTags.Base.Model in exif else None,
                    "exposure": f"{float(exposure):g} s" if exposure else None,
                }
    except Exception:  # Pillow raises various exceptions on broken headers; unreadable files are reported elsewhere
        return {"compression": None, "camera": None, "exposure": None}


def _compression(opened: Image.Image) -> str:
    tables = getattr(opened, "quantization", None)
    if opened.format == "JPEG" and tables:
        return f"JPEG quality {quality(np.asarray(tables[0], dtype=float))}"
    return f"{opened.format} {opened.info.get('compression', '')}".strip()


def quality(table: np.ndarray) -> int:
    """Return libjpeg's quality (1 to 100) of a luminance table of 64 numbers, estimated from its sum."""
    scale = 100 * float(table.sum()) / _TABLE_SUM
    return round(min(100, max(1, (200 - scale) / 2 if scale <= 100 else 5000 / scale)))
