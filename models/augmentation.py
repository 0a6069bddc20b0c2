"""Views of a training image: its mirror images, and random variations in place, light and sharpness.

Every view is fixed by its settings, its number and the image, so that frozen features can be kept and a rerun is the same.
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
    """`name` is unlike any other view's: what features are kept by. Without `random` it is a mirror image."""

    name: str
    flip: str = "none"
    random: Augment | None = None


PLAIN = View("none")


def views(train: Train) -> list[View]:
    """What training may see of an image: the flips, then the random variations, each with one of the flips."""
    return [view_at(train, number) for number in range(len(train.flips) + train.augment.views)]


def view_at(train: Train, number: int) -> View:
    """The view of that number. Beyond `views` they go on without end: what a training that sees pixels draws anew."""
    if number < len(train.flips):
        return View(train.flips[number], train.flips[number])
    at = number - len(train.flips)
    how = train.augment.model_dump_json(exclude={"views"}) + f" seed {train.seed}"
    key = hashlib.sha256(how.encode()).hexdigest()[:12]
    flips = train.flips or ("none",)
    return View(f"{flips[at % len(flips)]}-varied-{key}-{at}", flips[at % len(flips)], train.augment)


def seen(image: np.ndarray, view: View, name: str) -> np.ndarray:
    """The view of an H×W×C image, of its size and type; `name` is the image's own, so that no two images vary alike."""
    flipped = np.ascontiguousarray(np.flip(image, AXES[view.flip]))
    if view.random is None:
        return flipped
    seed = int.from_bytes(hashlib.sha256(f"{view.name} {name}".encode()).digest()[:8])
    return vary(flipped, view.random, np.random.default_rng(seed))


def vary(image: np.ndarray, how: Augment, random: np.random.Generator) -> np.ndarray:
    """One random variation: moved and turned, then light, then sharpness, noise and compression, as a camera would."""
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


def _moved(pixels: np.ndarray, how: Augment, random: np.random.Generator) -> np.ndarray:
    """Turned, zoomed and shifted about the middle; what comes in from outside is mirrored."""
    turn = np.deg2rad(random.uniform(-how.rotation_deg, how.rotation_deg))
    scale = 1 + random.uniform(-how.zoom, how.zoom)
    shift = random.uniform(-how.shift, how.shift, 2) * pixels.shape[:2]
    if not (how.rotation_deg or how.zoom or how.shift):
        return pixels
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / scale
    middle = (np.array(pixels.shape[:2]) - 1) / 2
    offset = middle - matrix @ (middle + shift)
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
