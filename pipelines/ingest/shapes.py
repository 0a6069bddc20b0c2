"""Boxes and polygons of a delivery, checked, and what they fill. Pixels of the upright image."""

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
_FAR = 10  # times the image's side: beyond it a polygon is in other units, and filling it takes gigabytes
_DECIMALS = 6  # a millionth of a pixel: what is left of shares and percents becomes the whole number that it was


def upright_size(path: Path) -> Size | None:
    """Width and height as `models.images.codec.decode` gives them, from the header where that tells; None for no image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=Image.DecompressionBombWarning)
            with Image.open(path, formats=codec.FORMATS) as opened:
                width, height = opened.size
                # Pillow turns a TIFF's size by itself, and would decode a whole PNG in search of EXIF.
                asks_exif = opened.format != "TIFF" and (opened.format != "PNG" or "exif" in opened.info)
                turned = asks_exif and opened.getexif().get(_ORIENTATION) in _ON_THE_SIDE
        return (height, width) if turned else (width, height)
    except Exception:  # Pillow's plugins raise OSError, SyntaxError, struct.error … ; and deep TIFFs it does not know
        try:
            facts = codec.facts(path.read_bytes())
        except UnreadableImage:
            return None
        return facts.width_px, facts.height_px


def numbers(values: Any, where: str, what: str) -> list[float]:
    """A list of finite numbers. Raises BadData beginning with `where`."""
    try:
        if isinstance(values, str | bytes | dict):
            raise TypeError
        if any(isinstance(value, bool) for value in values):
            raise TypeError
        result = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError) as error:
        raise BadData(f"{where}: {what} {_short(values)} is no list of numbers.", next_step="Correct it.") from error
    if not all(map(math.isfinite, result)):
        raise BadData(f"{where}: {what} {_short(values)} holds a number that is not finite.", next_step="Correct it.")
    return result


def _short(values: Any) -> str:
    try:
        text = repr(values)
    except ValueError:  # a whole number of thousands of digits
        text = "of numbers too large to write"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def box(values: Any, kind: Any, where: str) -> Box:
    """From x, y, width, height. One that reaches over the edge is kept, for the audit to report; one without area is not."""
    if kind is not None and not isinstance(kind, str):
        raise BadData(
            f"{where}: the type of defect {str(kind)[:60]} is no text.", next_step="Write a name in quotes, or nothing."
        )
    sides = numbers(values, where, "box")
    if len(sides) != 4:
        raise BadData(f"{where}: a box has 4 numbers, not {len(sides)}.", next_step="Correct it.")
    x, y, width, height = (round(value, _DECIMALS) + 0.0 for value in sides)
    if width <= 0 or height <= 0:
        raise BadData(
            f"{where}: the box has no area, it is {width:g} wide and {height:g} high.",
            next_step="Correct it or take it out.",
        )
    return Box(x, y, width, height, kind)


def polygon(values: Any, where: str) -> list[float]:
    """x, y, x, y, … of at least three corners."""
    coordinates = numbers(values, where, "polygon")
    if len(coordinates) % 2:
        raise BadData(
            f"{where}: the polygon has an odd number of coordinates, {len(coordinates)}.", next_step="Correct it."
        )
    if len(coordinates) < 6:
        raise BadData(f"{where}: the polygon has fewer than three corners.", next_step="Correct it or take it out.")
    return coordinates


def bounds(points: Sequence[float]) -> tuple[float, float, float, float]:
    """x, y, width, height of the box around a polygon."""
    xs, ys = points[::2], points[1::2]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def mask_png(file: Path, where: str, polygons: Sequence[Sequence[float]], pixels: Iterable[np.ndarray] = ()) -> bytes:
    """Polygons and masks (uint8, from 128 on; or bool) of one image, united.

    Raises UnreadableImage, beginning with `where`, for a mask of another size than the image.
    """
    size = upright_size(file)
    if size is None:
        raise UnreadableImage(f"{where}: the image can't be read.")
    width, height = size
    codec.require_size(width, height)
    for points in polygons:
        if not all(abs(value) <= _FAR * (height if at % 2 else width) for at, value in enumerate(points)):
            raise UnreadableImage(
                f"{where}: a polygon reaches farther than {_FAR} times the image's size beyond it.",
                next_step="Correct it and deliver it again.",
            )
    filled = coco_masks.from_polygons(polygons, width=width, height=height)
    for one in pixels:
        if one.shape != filled.shape:
            raise UnreadableImage(
                f"{where}: a mask of {one.shape[1]}×{one.shape[0]} px, the image has {width}×{height}.",
                next_step="Export the annotations again, for the images as they are now.",
            )
        filled |= one if one.dtype == bool else one > 127
    return codec.encode_png(filled.astype(np.uint8) * 255)
