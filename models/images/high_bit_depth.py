"""Decodes high-bit-depth images that Pillow would reduce or cannot read: 16-bit colour, packed 9 to 15 bits, planar TIFF.

Uses imagecodecs for PNG and tifffile for TIFF, imported only when needed. Pixels are returned as uint16 over its whole
range, upright, without alpha. The number of significant bits comes from the file and is never guessed from the pixels,
because a dark 16-bit image may look like a 12-bit image.
"""

from __future__ import annotations

import io
import logging
import struct
from typing import Any

import numpy as np

from models.errors import UnreadableImage
from models.images.codec import require_size

ORIENTATION = 0x0112
NEXT_STEP = "Deliver it as grey or RGB of 8, 12 or 16 bits."
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2  # TIFF's PhotometricInterpretation
_UNSIGNED = 1  # TIFF's SampleFormat
_SAMPLE_FORMATS = {2: "signed integers", 3: "floating-point numbers", 5: "complex integers", 6: "complex numbers"}
# None, LZW, deflate (two numbers), PackBits, LZMA, Zstandard: lossless, and read alike everywhere.
_COMPRESSIONS = {1, 5, 8, 32946, 32773, 34925, 50000}
_MAX_SAMPLE_VALUES = (281, 341)  # MaxSampleValue, SMaxSampleValue


def png(data: bytes, orientation: int) -> tuple[np.ndarray, int]:
    """Return pixels H×W×C (C 1 or 3) and significant bits of a 16-bit PNG. `orientation` is EXIF's."""
    from imagecodecs import png_decode

    return turned(_without_alpha(png_decode(data)), orientation), png_significant_bits(data)


def png_significant_bits(data: bytes) -> int:
    """Return the significant bits in the sBIT chunk of a 16-bit PNG, or 16.

    By the PNG specification, samples are already scaled to the full range.
    """
    position = 8
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"sBIT":
            significant = max(data[position + 8 : position + 8 + min(length, 3)], default=16)
            return significant if 8 < significant < 16 else 16
        if kind in (b"IDAT", b"PLTE"):  # sBIT must come before these
            break
        position += 12 + length
    return 16


def tiff(data: bytes) -> tuple[np.ndarray, int]:
    """Return pixels H×W×C (C 1 or 3) of the first page, uint8 or uint16, and the significant bits.

    Samples with fewer bits than the container are widened, so that the largest value becomes 65535. Raises UnreadableImage
    unless the pixels are complete and unsigned grey or RGB.
    """
    from tifffile import TiffFile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # problems of damaged files become errors here
    with TiffFile(io.BytesIO(data)) as opened:
        page: Any = opened.pages[0]
        bits = _supported_bits(page)
        require_size(page.imagewidth, page.imagelength)
        if page.is_tiled:
            require_size(page.tilewidth, page.tilelength)
        _require_whole(page, len(data))
        pixels = page.asarray(maxworkers=1)
        if page.samplesperpixel > 1 and page.planarconfig == 2:
            pixels = np.moveaxis(pixels, 0, -1)
        pixels = pixels.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
        declared = _declared_bits(page.tags, bits)
        orientation = page.tags.valueof(ORIENTATION, 1)
    if pixels.max() >= 1 << declared:
        raise UnreadableImage(
            f"The file states a maximum sample value of {(1 << declared) - 1}, but contains {pixels.max()}.",
            next_step="Correct the tag MaxSampleValue in the software that writes the images.",
        )
    if page.photometric == _WHITE_IS_ZERO:
        pixels = ((1 << declared) - 1) - pixels
    if declared > 8:
        pixels = _widened(pixels.astype(np.uint16), declared)
    return turned(_without_alpha(pixels), orientation), declared


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate the pixels upright by EXIF's orientation, 1 to 8. Other values mean upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _without_alpha(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2:
        return pixels[..., None]
    return pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]


def _supported_bits(page: Any) -> int:
    """Return the bits per sample. Raises UnreadableImage unless the pixels are grey or RGB with unsigned 1 to 16 bits."""
    bits, kind = page.bitspersample, int(page.sampleformat or _UNSIGNED)
    if kind in _SAMPLE_FORMATS:
        raise UnreadableImage(f"Pixels that are {_SAMPLE_FORMATS[kind]} are not supported.", next_step=NEXT_STEP)
    if not isinstance(bits, int) or not 1 <= bits <= 16:
        raise UnreadableImage(f"Pixels of {bits} bits are not supported.", next_step=NEXT_STEP)
    grey = page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
    channels = (1, 2) if grey else (3, 4)  # with alpha; further channels would be lost silently
    if not (grey or page.photometric == _RGB) or page.samplesperpixel not in channels:
        name = getattr(page.photometric, "name", page.photometric)
        raise UnreadableImage(
            f"{bits}-bit {name} of {page.samplesperpixel} channels is not supported.", next_step=NEXT_STEP
        )
    if int(page.compression) not in _COMPRESSIONS:
        name = getattr(page.compression, "name", page.compression)
        raise UnreadableImage(f"{bits}-bit TIFF compressed by {name} is not supported.", next_step=NEXT_STEP)
    if bits < 8:
        raise UnreadableImage(f"Grey or RGB of {bits} bits is not supported in this layout.", next_step=NEXT_STEP)
    return bits


def _require_whole(page: Any, size: int) -> None:
    """Raise UnreadableImage for truncated files, because tifffile fills missing pixels with zeros."""
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    lacking = sum(count <= 0 or offset <= 0 or offset + count > size for offset, count in segments)
    expected = int(np.prod(page.chunked))
    uncompressed = page.compression == 1
    row_bits = page.imagewidth * page.bitspersample * (page.samplesperpixel if page.planarconfig == 1 else 1)
    planes = 1 if page.planarconfig == 1 else page.samplesperpixel
    too_short = uncompressed and sum(page.databytecounts) < planes * page.imagelength * ((row_bits + 7) // 8)
    if lacking or len(segments) < expected or too_short:
        raise UnreadableImage("The file is truncated: part of its pixels is missing.", next_step=NEXT_STEP)


def _declared_bits(tags: Any, bits: int) -> int:
    """Return the significant bits of samples in a container of `bits`.

    MaxSampleValue is used if it is the end of a range (4095: 12 bits). Any other number is a statistic of the image, which
    the TIFF specification also allows.
    """
    for tag in _MAX_SAMPLE_VALUES:
        declared = tags.valueof(tag, None)
        largest = max(declared) if isinstance(declared, tuple) else declared
        for fewer in range(9, bits):
            if largest == (1 << fewer) - 1:
                return fewer
    return bits


def _widened(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Widen samples to 16 bits by repeating the upper bits, as in PNG: 0 stays 0, the largest value becomes 65535."""
    return pixels if bits == 16 else (pixels << (16 - bits)) | (pixels >> (2 * bits - 16))
