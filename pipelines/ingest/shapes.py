"""Checks boxes and polygons of a delivery, and draws them as masks. Coordinates are pixels of the upright image."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.errors import BadData, UnreadableImage
from models.images import codec
from pipelines.adapters import coco_masks
from pipelines.ingest.deliveries import Box

Size = tuple[int, int]  # width, height
_ORIENTATION, _ON_THE_SIDE = 0x0112, {5, 6, 7, 8}
_LONGEST = 200  # characters of a value in a message
_FAR = 10  # times the image's side; polygons beyond it are in wrong units, and filling them would take gigabytes
_DECIMALS = 6  # of a pixel; rounding restores whole numbers that were stored as fractions or percent


def upright_size(path: Path) -> Size | None:
    """Return width and height as decoded by `models.images.codec.decode`, or None if the file is not an image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=Image.DecompressionBombWarning)
            with Image.open(path, formats=codec.FORMATS) as opened:
                width, height = opened.size
                # Pillow already applies a TIFF's orientation to the size, and would decode a whole PNG to find EXIF.
                asks_exif = opened.format != "TIFF" and (opened.format != "PNG" or "exif" in opened.info)
                turned = asks_exif and opened.getexif().get(_ORIENTATION) in _ON_THE_SIDE
        return (height, width) if turned else (width, height)
    except Exception:  # Pillow's plugins raise OSError, SyntaxError, struct.error …, and it cannot read some deep TIFFs
        try:
            facts = codec.facts(path.read_bytes())
        except UnreadableImage:
            return None
        return facts.width_px, facts.height_px


def numbers(values: Any, where: str, what: str) -> list[float]:
    """Return the values as finite floats. Raises BadData that begins with `where`."""
    try:
        if isinstance(values, str | bytes | dict):
            raise TypeError
        if any(isinstance(value, bool) for value in values):
            raise TypeError
        result = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError) as error:
        raise BadData(f"{where}: {what} {_short(values)} is not a list of numbers.", next_step="Correct it.") from error
    if not all(map(math.isfinite, result)):
        raise BadData(
            f"{where}: {what} {_short(values)} contains a number that is not finite.", next_step="Correct it."
        )
    return result


def _short(values: Any) -> str:
    try:
        text = repr(values)
    except ValueError:  # an integer with thousands of digits
        text = "of numbers too large to write"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def box(values: Any, kind: Any, where: str) -> Box:
    """Return the box of x, y, width, height. A box that crosses the image's edge is kept; the audit reports it. Raises
    BadData for a box without area."""
    if kind is not None and not isinstance(kind, str):
        raise BadData(
            f"{where}: the defect type {str(kind)[:60]} is not text.", next_step="Write a name in quotes, or omit it."
        )
    sides = numbers(values, where, "box")
    if len(sides) != 4:
        raise BadData(f"{where}: a box needs 4 numbers, not {len(sides)}.", next_step="Correct it.")
    x, y, width, height = (round(value, _DECIMALS) + 0.0 for value in sides)
    if width <= 0 or height <= 0:
        raise BadData(
            f"{where}: the box has no area: it is {width:g} wide and {height:g} high.",
            next_step="Correct or remove it.",
        )
    return Box(x, y, width, height, kind)


def polygon(values: Any, where: str) -> list[float]:
    """Return the corners as x, y, x, y, …; there are at least three. Raises BadData."""
    coordinates = numbers(values, where, "polygon")
    if len(coordinates) % 2:
        raise BadData(
            f"{where}: the polygon has an odd number of coordinates, {len(coordinates)}.", next_step="Correct it."
        )
    if len(coordinates) < 6:
        raise BadData(f"{where}: the polygon has fewer than three corners.", next_step="Correct or remove it.")
    return coordinates


def bounds(points: Sequence[float]) -> tuple[float, float, float, float]:
    """Return x, y, width, height of the box around a polygon."""
    xs, ys = points[::2], points[1::2]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def mask_png(file: Path, where: str, polygons: Sequence[Sequence[float]], pixels: Iterable[np.ndarray] = ()) -> bytes:
    """Return the union of polygons and masks (bool, or uint8 with a threshold of 128) of one image as PNG.

    Raises UnreadableImage, beginning with `where`, if a mask differs in size from the image.
    """
    size = upright_size(file)
    if size is None:
        raise UnreadableImage(f"{where}: the image cannot be read.")
    width, height = size
    codec.require_size(width, height)
    for points in polygons:
        if not all(abs(value) <= _FAR * (height if at % 2 else width) for at, value in enumerate(points)):
            raise UnreadableImage(
                f"{where}: a polygon extends more than {_FAR} times the image's size beyond the image.",
                next_step="Correct it and deliver it again.",
            )
    filled = coco_masks.from_polygons(polygons, width=width, height=height)
    for one in pixels:
        if one.shape != filled.shape:
            raise UnreadableImage(
                f"{where}: the mask has {one.shape[1]}×{one.shape[0]} px, but the image has {width}×{height}.",
                next_step="Export the annotations again for the present images.",
            )
        filled |= one if one.dtype == bool else one > 127
    return codec.encode_png(filled.astype(np.uint8) * 255)
