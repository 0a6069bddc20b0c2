"""Augmentation: views of a training image by flips, and by random variations in position, light and sharpness.

A view is determined by its settings, its number and the image, so that frozen features can be cached and reruns are equal.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from models.params import Augment, Train

AXES: dict[str, tuple[int, ...]] = {"none": (), "horizontal": (1,), "vertical": (0,), "both": (0, 1)}


@dataclass(frozen=True)
class View:
    """`name` is unique and used as a cache key. Without `random`, the view is only flipped."""

    name: str
    flip: str = "none"
    random: Augment | None = None


PLAIN = View("none")
MUST_STAY = 0.3  # minimum share of a box's area inside the image; otherwise the box is removed


def views(train: Train) -> list[View]:
    """Return the views for training: the flips, then the random variations, each with one of the flips."""
    return [view_at(train, number) for number in range(len(train.flips) + train.augment.views)]


def view_at(train: Train, number: int) -> View:
    """Return the view of that number. Any number is allowed, so that training on pixels can draw new views."""
    if number < len(train.flips):
        return View(train.flips[number], train.flips[number])
    at = number - len(train.flips)
    how = train.augment.model_dump_json(exclude={"views"}) + f" seed {train.seed}"
    key = hashlib.sha256(how.encode()).hexdigest()[:12]
    flips = train.flips or ("none",)
    return View(f"{flips[at % len(flips)]}-varied-{key}-{at}", flips[at % len(flips)], train.augment)


def augmented(image: np.ndarray, view: View, name: str) -> np.ndarray:
    """Return the view of an H×W×C image, with its size and type. `name` identifies the image and seeds its variation."""
    flipped = np.ascontiguousarray(np.flip(image, AXES[view.flip]))
    if view.random is None:
        return flipped
    return vary(flipped, view.random, _random(view, name))


def augmented_boxes(boxes: np.ndarray, view: View, name: str, *, height_px: int, width_px: int) -> np.ndarray:
    """Transform boxes as `augmented` does: left, top, right, bottom relative to the sides [m, 4 or more columns].

    A rotated box becomes the box around the midpoints of its sides, which still covers most of the defect. A box that is
    mostly outside the image is removed.
    """
    moved = boxes.astype(np.float64)
    for axis in AXES[view.flip]:
        first, last = (0, 2) if axis == 1 else (1, 3)
        moved[:, [first, last]] = 1 - moved[:, [last, first]]
    if view.random is not None and _moves(view.random):
        matrix, offset = _placement(view.random, (height_px, width_px), _random(view, name))
        left, top, right, bottom = moved[:, :4].T
        x, y = (left + right) / 2, (top + bottom) / 2
        # scipy counts from the middle of the first pixel, rows first.
        sides = np.stack([[top, y, bottom, y], [x, right, x, left]], axis=2) * [height_px, width_px] - 0.5
        sources = (sides - offset) @ np.linalg.inv(matrix).T
        rows, columns = np.moveaxis((sources + 0.5) / [height_px, width_px], 2, 0)
        moved[:, :4] = np.stack([columns.min(0), rows.min(0), columns.max(0), rows.max(0)], axis=1)
    inside = moved.copy()
    inside[:, :4] = inside[:, :4].clip(0, 1)
    return inside[_area(inside) > MUST_STAY * _area(moved)].astype(boxes.dtype)


def augmented_mask(mask: np.ndarray, view: View, name: str) -> np.ndarray:
    """Transform a mask, bool [height, width], as `augmented` does."""
    flipped = np.flip(mask, AXES[view.flip])
    if view.random is None or not _moves(view.random):
        return flipped
    matrix, offset = _placement(view.random, mask.shape, _random(view, name))
    moved = ndimage.affine_transform(flipped.astype(np.uint8), matrix, offset, order=0, mode="mirror")
    return np.asarray(moved > 0)


def vary(image: np.ndarray, how: Augment, random: np.random.Generator) -> np.ndarray:
    """Apply one random variation: position and rotation, then light, then blur, noise and compression."""
    white = float(np.iinfo(image.dtype).max)
    pixels = _moved(image.astype(np.float32) / white, how, random)
    mean = pixels.mean()
    contrast, brightness = (1 + random.uniform(-reach, reach) for reach in (how.contrast, how.brightness))
    pixels = ((pixels - mean) * contrast + mean) * brightness
    if how.blur_px:
        sigma = random.uniform(0, how.blur_px)
        pixels = ndimage.gaussian_filter(pixels, (sigma, sigma, 0))
    if how.noise:
        pixels = pixels + random.normal(0, random.uniform(0, how.noise), pixels.shape)
    varied = np.round(np.clip(pixels, 0, 1) * white).astype(image.dtype)
    if how.jpeg_quality is not None and image.dtype == np.uint8:
        varied = _compressed(varied, int(random.integers(how.jpeg_quality, 101)))
    return varied


def _random(view: View, name: str) -> np.random.Generator:
    seed = int.from_bytes(hashlib.sha256(f"{view.name} {name}".encode()).digest()[:8])
    return np.random.default_rng(seed)


def _moves(how: Augment) -> bool:
    return bool(how.rotation_deg or how.zoom or how.shift)


def _placement(how: Augment, size: tuple[int, ...], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the placement: matrix and offset from a position (row, column) of the view to one of the image."""
    turn = np.deg2rad(random.uniform(-how.rotation_deg, how.rotation_deg))
    scale = 1 + random.uniform(-how.zoom, how.zoom)
    shift = random.uniform(-how.shift, how.shift, 2) * size
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / scale
    middle = (np.array(size) - 1) / 2
    return matrix, middle - matrix @ (middle + shift)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _moved(pixels: np.ndarray, how: Augment, random: np.random.Generator) -> np.ndarray:
    """Rotate, zoom and shift about the centre. Areas from outside the image are mirrored."""
    matrix, offset = _placement(how, pixels.shape[:2], random)
    if not _moves(how):
        return pixels
    channels = [
        ndimage.affine_transform(pixels[..., channel], matrix, offset, order=1, mode="mirror")
        for channel in range(pixels.shape[2])
    ]
    return np.stack(channels, axis=2)


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    sink = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(sink, format="JPEG", quality=quality)
    back = np.asarray(Image.open(io.BytesIO(sink.getvalue())))
    return back[..., None] if back.ndim == 2 else back
