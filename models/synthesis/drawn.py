"""Procedural defects: a shape with soft edges and what it does to the surface below it. NumPy and SciPy; no files.

Pixels are float32 H×W×C in [0, 1]. Sizes follow the image's shorter side, strengths the surface's own contrast, so that a
defect on a dark, even part is as faint as it would be there.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import numpy as np
from scipy import ndimage

VISIBLE = 0.25  # of a shape's opacity: from here on a pixel belongs to the mask


class Kind(StrEnum):
    SCRATCH = "scratch"
    DENT = "dent"
    SPOT = "spot"
    CRACK = "crack"
    STAIN = "stain"
    MISSING = "missing-area"


def draw(image: np.ndarray, kind: Kind, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The image with one defect, and its mask bool [h, w]. The same generator state gives the same defect."""
    height, width = image.shape[:2]
    opacity, change = _SHAPES[kind](height, width, random)
    strength = _strength(image) * random.uniform(2.0, 4.5)
    texture = 1 + 0.25 * _rough(height, width, 2.0, random)  # no real defect is of one tone
    if kind is Kind.MISSING:  # what lies below shows: dark, with the surface's own noise
        below = np.clip(image.min(axis=(0, 1), keepdims=True) + 0.04 * texture[..., None], 0, 1)
        return image * (1 - opacity[..., None]) + below * opacity[..., None], opacity > VISIBLE
    made = np.clip(image + (strength * change * texture * opacity)[..., None], 0, 1)
    seen = opacity if kind is Kind.DENT else np.abs(change)  # all of a bowl is dented, also where no light betrays it
    return made.astype(np.float32), seen > VISIBLE * seen.max()


def _scratch(height: int, width: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    side = min(height, width)
    path = _path(height, width, random, length=random.uniform(0.25, 0.7) * side, bend=0.02)
    line = _stroke(height, width, path, random.uniform(0.6, 1.6) * side / 200, random)
    rim = np.roll(line, (1, 1), (0, 1)) - np.roll(line, (-1, -1), (0, 1))  # light catches one edge of the groove
    sign = 1 if random.random() < 0.6 else -1
    return line, sign * line + 0.5 * rim


def _crack(height: int, width: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    side = min(height, width)
    trunk = _path(height, width, random, length=random.uniform(0.25, 0.6) * side, bend=0.45)
    opacity = _stroke(height, width, trunk, random.uniform(0.4, 0.9) * side / 200, random)
    for _ in range(random.integers(0, 3)):
        start = trunk[random.integers(len(trunk))]
        branch = _path(height, width, random, length=random.uniform(0.06, 0.2) * side, bend=0.5, start=start)
        opacity = np.maximum(opacity, _stroke(height, width, branch, 0.4 * side / 200, random))
    return opacity, -1.4 * opacity


def _dent(height: int, width: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shading of a shallow bowl under light from one side: its slope along the light."""
    bowl = _blob(height, width, random, 0.06, 0.15, rough=0.1)
    angle = random.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * ndimage.sobel(bowl, 1) + np.sin(angle) * ndimage.sobel(bowl, 0)
    slope = slope / max(float(np.abs(slope).max()), 1e-6)
    inside = ndimage.gaussian_filter((bowl > 0.02).astype(np.float32), 1)
    return inside, slope - 0.25 * bowl


def _spot(height: int, width: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    opacity = np.clip(_blob(height, width, random, 0.015, 0.06, rough=0.25) * 3, 0, 1)
    return opacity, (1 if random.random() < 0.25 else -1) * opacity


def _stain(height: int, width: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    blob = _blob(height, width, random, 0.08, 0.22, rough=0.6)
    opacity = np.clip(blob * 2.5, 0, 1)
    edge = np.clip(4 * opacity * (1 - opacity), 0, 1)  # a dried drop is darkest at its rim
    return opacity, -0.35 * opacity - 0.3 * edge


def _missing(height: int, width: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    opacity = np.clip((_blob(height, width, random, 0.06, 0.15, rough=0.35) - 0.2) * 12, 0, 1)
    return opacity, -opacity


_SHAPES: dict[Kind, Callable[[int, int, np.random.Generator], tuple[np.ndarray, np.ndarray]]] = {
    Kind.SCRATCH: _scratch,
    Kind.DENT: _dent,
    Kind.SPOT: _spot,
    Kind.CRACK: _crack,
    Kind.STAIN: _stain,
    Kind.MISSING: _missing,
}


def _strength(image: np.ndarray) -> float:
    """How much the surface itself varies in the small: a defect has to be more than that."""
    grey = image.mean(axis=2)
    return float(max(0.03, (grey - ndimage.gaussian_filter(grey, 3)).std()))


def _path(
    height: int, width: int, random: np.random.Generator, *, length: float, bend: float, start: np.ndarray | None = None
) -> np.ndarray:
    """float [n, 2] rows and columns of a walk that turns by `bend` radians (standard deviation) every pixel or two."""
    at = np.array([random.uniform(0.15, 0.85) * height, random.uniform(0.15, 0.85) * width]) if start is None else start
    steps = max(4, int(length / 1.5))
    angles = random.uniform(0, 2 * np.pi) + np.cumsum(random.normal(0, bend, steps) * (random.random(steps) < 0.35))
    moves = 1.5 * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    walk = at + np.cumsum(moves, axis=0)
    beyond = np.flatnonzero(((walk < 1) | (walk > [height - 2, width - 2])).any(axis=1))
    return np.clip(walk[: max(4, beyond[0])] if len(beyond) else walk, 1, [height - 2, width - 2])


def _stroke(height: int, width: int, path: np.ndarray, radius: float, random: np.random.Generator) -> np.ndarray:
    """float32 [h, w] in [0, 1]: the path drawn with a width that tapers off towards its ends."""
    taper = np.sin(np.linspace(0.15, np.pi - 0.15, len(path))) ** 0.5 * random.uniform(0.7, 1.0, len(path))
    canvas = np.zeros((height, width), np.float32)
    fine = np.linspace(0, len(path) - 1, 3 * len(path))
    rows, columns = (np.interp(fine, np.arange(len(path)), path[:, axis]).round().astype(int) for axis in (0, 1))
    np.maximum.at(canvas, (rows, columns), np.interp(fine, np.arange(len(path)), taper).astype(np.float32))
    soft = ndimage.gaussian_filter(canvas, max(0.5, radius))
    return soft / max(float(soft.max()), 1e-6)


def _blob(
    height: int, width: int, random: np.random.Generator, smallest: float, largest: float, *, rough: float
) -> np.ndarray:
    """float32 [h, w] in [0, 1]: a hill of elliptic base with an uneven border; radii as shares of the shorter side."""
    side = min(height, width)
    row, column = random.uniform(0.2, 0.8) * height, random.uniform(0.2, 0.8) * width
    tall, wide = random.uniform(smallest, largest, 2) * side
    angle = random.uniform(0, np.pi)
    y, x = np.mgrid[:height, :width]
    across = (x - column) * np.cos(angle) + (y - row) * np.sin(angle)
    along = -(x - column) * np.sin(angle) + (y - row) * np.cos(angle)
    distance = np.sqrt((across / wide) ** 2 + (along / tall) ** 2) + rough * _rough(height, width, side / 25, random)
    return np.clip(1 - distance**2, 0, 1).astype(np.float32)


def _rough(height: int, width: int, scale: float, random: np.random.Generator) -> np.ndarray:
    """Smooth noise of standard deviation 1."""
    noise = ndimage.gaussian_filter(random.standard_normal((height, width)), scale)
    return (noise / max(float(noise.std()), 1e-6)).astype(np.float32)
