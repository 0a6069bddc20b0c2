"""Image bytes to arrays and back: the one decoder that ingest, training, evaluation and inspection share.

Keeps the bit depth: 8-bit images become uint8, deeper ones uint16 spanning its whole range. Knows nothing of networks.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from models.errors import UnreadableImage

# A list of its own, because Pillow would also try formats that start other programs.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_NEXT_STEP = "Deliver it again as PNG, JPEG, TIFF, BMP or WebP."


@dataclass(frozen=True)
class ImageFacts:
    width_px: int
    height_px: int
    channels: int
    bit_depth: int
    format: str


def decode(data: bytes) -> np.ndarray:
    """Pixels H×W×C (C 1 or 3), uint8 or uint16, upright by EXIF, alpha dropped, first frame.

    Raises UnreadableImage with the reason for anything that is no whole image, truncated files included.
    """
    return _decode(data)[0]


def read(path: Path) -> np.ndarray:
    try:
        return decode(path.read_bytes())
    except UnreadableImage as error:
        raise UnreadableImage(f"{path}: {error.message}", next_step=error.next_step) from error
    except OSError as error:
        raise UnreadableImage(f"{path} can't be read: {error.strerror}.", next_step="Check the path.") from error


def facts(data: bytes) -> ImageFacts:
    """Size and depth of the image. Decodes it whole, so that a truncated file is found here and not in production."""
    return _decode(data)[1]


def decode_with_facts(data: bytes) -> tuple[np.ndarray, ImageFacts]:
    """`decode` and `facts` for the price of one."""
    return _decode(data)


def encode_png(array: np.ndarray) -> bytes:
    """H×W, H×W×1 or H×W×3 as PNG; uint16 is kept for grey."""
    squeezed = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    sink = io.BytesIO()
    Image.fromarray(squeezed).save(sink, format="PNG")
    return sink.getvalue()


def to_rgb8(image: np.ndarray) -> np.ndarray:
    """For human eyes: uint8 H×W×3."""
    eight = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image
    return np.repeat(eight, 3, axis=2) if eight.shape[2] == 1 else eight


def grey(image: np.ndarray) -> np.ndarray:
    """Float32 H×W in [0, 1] of uint8 or uint16 pixels, by ITU-R BT.601."""
    scale = np.float32(1 / np.iinfo(image.dtype).max)
    if image.shape[2] == 1:
        return image[..., 0] * scale
    return (
        image[..., 0] * np.float32(0.299) + image[..., 1] * np.float32(0.587) + image[..., 2] * np.float32(0.114)
    ) * scale


def overlay(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """The image with the heatmap over it, RGB uint8: cold areas stay as they are, hot ones turn yellow to red."""
    rgb = to_rgb8(image).astype(np.float32)
    height, width = rgb.shape[:2]
    small = Image.fromarray(np.ascontiguousarray(heatmap, dtype=np.float32))
    heat = np.clip(np.asarray(small.resize((width, height), Image.Resampling.BILINEAR)), 0, 1)[..., None]
    colour = np.concatenate([np.full_like(heat, 255), 220 * (1 - heat), np.full_like(heat, 20)], axis=2)
    opacity = 0.7 * np.clip((heat - 0.15) * 1.6, 0, 1)  # what is only lukewarm stays out of the way
    return np.round(rgb * (1 - opacity) + colour * opacity).astype(np.uint8)


def _decode(data: bytes) -> tuple[np.ndarray, ImageFacts]:
    if not data:
        raise UnreadableImage("The file is empty.", next_step=_NEXT_STEP)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                format_ = "JPEG" if opened.format == "MPO" else str(opened.format)  # MPO: JPEGs of some phones
                array, bit_depth = _pixels(opened, raw_mode=str(opened.tile[0].args) if opened.tile else "")
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error, ValueError … on bad bytes
        reason = "no image of a known format" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise UnreadableImage(f"The bytes can't be decoded: {reason.rstrip('.')}.", next_step=_NEXT_STEP) from error
    height, width, channels = array.shape
    return array, ImageFacts(width, height, channels, bit_depth, format_)


def _pixels(opened: Image.Image, raw_mode: str) -> tuple[np.ndarray, int]:
    """Decode whole. `raw_mode` names the bytes in the file: the mode alone hides what Pillow would drop."""
    opened.load()
    mode = opened.mode
    if ";16" in raw_mode and not mode.startswith("I"):
        # Pillow would silently keep the upper 8 bits.
        raise UnreadableImage("16-bit colour is not supported.", next_step="Deliver 16-bit grey or 8-bit colour.")
    if mode in ("F", "LAB"):
        raise UnreadableImage(f"Pixels of mode {mode} are not supported.", next_step=_NEXT_STEP)
    upright = ImageOps.exif_transpose(opened)
    if mode.startswith("I"):
        array = np.asarray(upright)
        if array.min() < 0 or array.max() > 65535:
            raise UnreadableImage("Pixels deeper than 16 bits are not supported.", next_step=_NEXT_STEP)
        twelve_bit = ";12" in raw_mode
        deep = array.astype(np.uint16)
        return (deep << 4 if twelve_bit else deep)[..., None], 12 if twelve_bit else 16
    if mode == "1":
        upright = upright.convert("L")
    if mode in ("1", "L", "LA"):
        return np.asarray(upright.getchannel(0))[..., None], 8
    return np.asarray(upright.convert("RGB")), 8
