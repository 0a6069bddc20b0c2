"""Decodes and encodes images: the decoder shared by ingest, training, evaluation and inspection.

It keeps the bit depth: 8-bit images become uint8, deeper ones uint16 over its whole range, so that nothing is clipped.
Images whose depth Pillow would reduce are decoded by `models.images.high_bit_depth`.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from models.errors import UnreadableImage

# An explicit list, because Pillow would also try formats that start other programs.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
PNG_HEADER = 33  # bytes before the first optional chunk
MAX_PIXELS = 1 << 27  # 16,384 × 8,192, 0.8 GB as 16-bit colour; larger images are treated as decompression bombs
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
_NEXT_STEP = "Deliver it again as PNG, JPEG, TIFF, BMP or WebP."
_BITS, _PHOTOMETRIC, _SAMPLES, _SAMPLE_FORMAT = 258, 262, 277, 339  # TIFF's tags
_MAX_SAMPLE_VALUES = {281, 341}


@dataclass(frozen=True)
class ImageFacts:
    width_px: int
    height_px: int
    channels: int
    bit_depth: int
    format: str


def decode(data: bytes) -> np.ndarray:
    """Decode pixels H×W×C (C 1 or 3) as uint8 or uint16, upright by EXIF, without alpha; only the first frame or page.

    Raises UnreadableImage with the reason for truncated files, more than MAX_PIXELS, floating-point, signed and 32-bit
    pixels, and 16-bit CMYK.
    """
    return _decode(data)[0]


def read(path: Path) -> np.ndarray:
    try:
        return decode(path.read_bytes())
    except UnreadableImage as error:
        raise UnreadableImage(f"{path}: {error.message}", next_step=error.next_step) from error
    except OSError as error:
        raise UnreadableImage(f"{path} cannot be read: {error.strerror}.", next_step="Check the path.") from error


def facts(data: bytes) -> ImageFacts:
    """Return size and depth. Decodes the whole image, so that truncated files are found here and not in production."""
    return _decode(data)[1]


def decode_with_facts(data: bytes) -> tuple[np.ndarray, ImageFacts]:
    """Return the results of `decode` and `facts` with a single decoding."""
    return _decode(data)


def encode_png(array: np.ndarray, significant_bits: int | None = None) -> bytes:
    """Encode H×W, H×W×1 or H×W×3 pixels, uint8 or uint16, as PNG. `decode` returns the same pixels.

    `significant_bits` of a 16-bit image from a camera with 9 to 15 bits is stored, and returned by `facts`.
    """
    squeezed = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if squeezed.dtype == np.uint16 and squeezed.ndim == 3:
        import imagecodecs  # Pillow cannot write 16-bit colour

        png = bytes(imagecodecs.png_encode(np.ascontiguousarray(squeezed)))
    else:
        sink = io.BytesIO()
        Image.fromarray(squeezed).save(sink, format="PNG")
        png = sink.getvalue()
    if array.dtype != np.uint16 or significant_bits in (None, 16):
        return png
    body = b"sBIT" + bytes([significant_bits] * (3 if squeezed.ndim == 3 else 1))
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:PNG_HEADER] + chunk + png[PNG_HEADER:]


def require_size(width_px: int, height_px: int) -> None:
    """Raise UnreadableImage for more than MAX_PIXELS, before memory is allocated."""
    if width_px * height_px > MAX_PIXELS:
        raise UnreadableImage(
            f"The image has {width_px}×{height_px} px, more than the limit of {MAX_PIXELS:,}.",
            next_step="Split it into smaller images, or scale it down.",
        )


def to_rgb8(image: np.ndarray) -> np.ndarray:
    """Convert to uint8 H×W×3 for display."""
    eight = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image
    return np.repeat(eight, 3, axis=2) if eight.shape[2] == 1 else eight


def grey(image: np.ndarray) -> np.ndarray:
    """Convert uint8 or uint16 pixels to grey, float32 H×W in [0, 1], by ITU-R BT.601."""
    scale = np.float32(1 / np.iinfo(image.dtype).max)
    if image.shape[2] == 1:
        return image[..., 0] * scale
    return (
        image[..., 0] * np.float32(0.299) + image[..., 1] * np.float32(0.587) + image[..., 2] * np.float32(0.114)
    ) * scale


def stretched(heatmap: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize the heatmap to the image's size, float32 [height, width]."""
    small = Image.fromarray(np.ascontiguousarray(heatmap, dtype=np.float32))
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))


def overlay(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Return the image with the heatmap over it, RGB uint8: low values are transparent, high values yellow to red."""
    rgb = to_rgb8(image).astype(np.float32)
    height, width = rgb.shape[:2]
    heat = np.clip(stretched(heatmap, height, width), 0, 1)[..., None]
    colour = np.concatenate([np.full_like(heat, 255), 220 * (1 - heat), np.full_like(heat, 20)], axis=2)
    opacity = 0.7 * np.clip((heat - 0.15) * 1.6, 0, 1)  # low values stay transparent
    return np.round(rgb * (1 - opacity) + colour * opacity).astype(np.uint8)


def _decode(data: bytes) -> tuple[np.ndarray, ImageFacts]:
    if not data:
        raise UnreadableImage("The file is empty.", next_step=_NEXT_STEP)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # relevant problems become errors here
            array, bit_depth, format_ = _pixels(data)
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImage(
            f"The image has more than the limit of {MAX_PIXELS:,} px.",
            next_step="Split it into smaller images, or scale it down.",
        ) from error
    # Pillow's plugins raise OSError, SyntaxError, struct.error, ValueError … on bad bytes; other decoders raise their own.
    except Exception as error:
        reason = "not a supported image format" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise UnreadableImage(f"The bytes cannot be decoded: {reason.rstrip('.')}.", next_step=_NEXT_STEP) from error
    height, width, channels = array.shape
    return array, ImageFacts(width, height, channels, bit_depth, format_)


def _pixels(data: bytes) -> tuple[np.ndarray, int, str]:
    """Return pixels, significant bits and format."""
    try:
        opened = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError:
        if not data.startswith(TIFF_MAGIC):
            raise
        return _deep_tiff(data)  # a layout that Pillow does not support, or a damaged file
    with opened:
        require_size(*opened.size)
        if opened.format == "TIFF" and not _pillow_keeps(opened):
            return _deep_tiff(data)
        # Checked in the file, because Pillow's mode hides that it drops the lower 8 bits of 16-bit colour.
        deep_png = opened.format == "PNG" and ";16" in str(opened.tile[0].args if opened.tile else "")
        opened.load()
        if deep_png:
            from models.images import high_bit_depth

            if not opened.mode.startswith("I"):
                return *high_bit_depth.png(data, opened.getexif().get(high_bit_depth.ORIENTATION, 1)), "PNG"
            return _grey16(opened), high_bit_depth.png_significant_bits(data), "PNG"
        if opened.mode.startswith("I;16"):
            return _grey16(opened), 16, str(opened.format)
        return _shallow(opened), 8, "JPEG" if opened.format == "MPO" else str(opened.format)  # MPO: JPEGs of phones


def _deep_tiff(data: bytes) -> tuple[np.ndarray, int, str]:
    from models.images import high_bit_depth

    return *high_bit_depth.tiff(data), "TIFF"


def _pillow_keeps(opened: Image.Image) -> bool:
    """Return whether Pillow reads this TIFF without loss: up to 8 unsigned bits, or plain 16-bit grey with black as zero."""
    tags = opened.tag_v2  # type: ignore[attr-defined]
    if set(tags.get(_SAMPLE_FORMAT, (1,))) - {1, 4}:  # 4: undefined, treated as unsigned
        return False
    bits = tags.get(_BITS, (1,))
    if max(bits) <= 8:
        return True
    plain = tags.get(_PHOTOMETRIC) == 1 and tags.get(_SAMPLES, 1) == 1
    return plain and tuple(bits) == (16,) and opened.mode.startswith("I;16") and not _MAX_SAMPLE_VALUES & set(tags)


def _grey16(opened: Image.Image) -> np.ndarray:
    ImageOps.exif_transpose(opened, in_place=True)
    return np.asarray(opened).astype(np.uint16)[..., None]


def _shallow(opened: Image.Image) -> np.ndarray:
    """Return pixels of at most 8 bits."""
    mode = opened.mode
    if mode[0] in "IF" or mode == "LAB":
        raise UnreadableImage(f"Pixels of mode {mode} are not supported.", next_step=_NEXT_STEP)
    ImageOps.exif_transpose(opened, in_place=True)
    if mode == "L":
        return np.asarray(opened)[..., None]
    if mode in ("1", "LA"):
        return np.asarray(opened.convert("L") if mode == "1" else opened.getchannel(0))[..., None]
    return np.asarray(opened if mode == "RGB" else opened.convert("RGB"))
