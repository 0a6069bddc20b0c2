"""Shapes of defects: tapering and broken lines, blotches with uneven borders, chips with straight borders. Pure.

A shape is float32 [h, w] in [0, 1] with soft borders. Lengths are in pixels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

STEP_PX = 1.0  # of a path
FINE = 4  # polygons are drawn larger by this factor and scaled down, for soft borders


def path(
    start: np.ndarray, length: float, random: np.random.Generator, *, angle: float, jitter: float, hold: float
) -> np.ndarray:
    """Return float [n, 2] rows and columns: a walk in the direction `angle`, with a deviation of `jitter` radians per step.

    `hold` in [0, 1) is the persistence of deviations: near 1 the line swings, near 0 it is jagged.
    """
    steps = max(6, int(length / STEP_PX))
    off = np.zeros(steps)
    for at in range(1, steps):
        off[at] = hold * off[at - 1] + random.normal(0, jitter)
    course = angle + off
    return start + STEP_PX * np.cumsum(np.stack([np.sin(course), np.cos(course)], axis=1), axis=0)


def stroke(shape: tuple[int, int], line: np.ndarray, radius: float, weight: np.ndarray) -> np.ndarray:
    """Draw the path with a soft pen; `weight` [n] in [0, 1] is the pressure at each point."""
    height, width = shape
    canvas = np.zeros(shape, np.float32)
    places = np.linspace(0, len(line) - 1, 3 * len(line))
    at = np.arange(len(line))
    rows, columns, press = (np.interp(places, at, values) for values in (line[:, 0], line[:, 1], weight))
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - (rows - top)) * np.abs(1 - right - (columns - left)) * press
            row, column = top + down, left + right
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            np.add.at(canvas, (row[inside], column[inside]), share[inside].astype(np.float32))
    soft = ndimage.gaussian_filter(canvas, radius)
    strongest = float(np.quantile(soft[soft > 0], 0.995)) if (soft > 0).any() else 1.0
    return np.clip(soft / max(strongest, 1e-6), 0, 1)


def pressure(n: int, random: np.random.Generator, *, broken: float) -> np.ndarray:
    """Return the pressure [n] in [0, 1]: low at the ends, uneven between; `broken` is the share that is hardly visible."""
    ends = np.minimum(1, np.sin(np.linspace(0.05, np.pi - 0.05, n)) * 2.5)
    uneven = ndimage.gaussian_filter1d(random.standard_normal(n), max(1.0, n / 25))
    rank = np.argsort(np.argsort(uneven)) / max(1, n - 1)
    return ends * np.clip(0.15 + (rank - broken) * 4, 0.15, 1)


def blotch(
    shape: tuple[int, int],
    centre: np.ndarray,
    radii: tuple[float, float],
    random: np.random.Generator,
    *,
    uneven: float,
) -> np.ndarray:
    """Return a connected hill, 1 in the middle and 0 at an elliptic border that is `uneven` (0: a clean ellipse)."""
    angle = random.uniform(0, np.pi)
    y, x = np.mgrid[: shape[0], : shape[1]]
    across = (x - centre[1]) * np.cos(angle) + (y - centre[0]) * np.sin(angle)
    along = -(x - centre[1]) * np.sin(angle) + (y - centre[0]) * np.cos(angle)
    distance = np.sqrt((across / radii[0]) ** 2 + (along / radii[1]) ** 2)
    distance = distance * (1 + uneven * np.clip(rough(shape, max(radii), random), -2, 2))
    hill = np.clip(1 - distance, 0, 1).astype(np.float32)
    return hill * _piece(hill > 0)


def chip(shape: tuple[int, int], centre: np.ndarray, radius: float, random: np.random.Generator) -> np.ndarray:
    """Return a broken-off piece: a polygon with uneven sides and a rough border."""
    corners = int(random.integers(7, 12))
    angles = (np.arange(corners) + random.uniform(-0.35, 0.35, corners)) * 2 * np.pi / corners
    tall, wide = random.uniform(0.7, 1.2, 2)
    reach = radius * random.uniform(0.75, 1.1, corners) * np.hypot(wide * np.cos(angles), tall * np.sin(angles))
    points = [
        (float((centre[1] + far * np.cos(angle)) * FINE), float((centre[0] + far * np.sin(angle)) * FINE))
        for angle, far in zip(angles, reach, strict=True)
    ]
    picture = Image.new("L", (shape[1] * FINE, shape[0] * FINE))
    ImageDraw.Draw(picture).polygon(points, fill=255)
    filled = np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BOX), np.float32) / 255
    soft = ndimage.gaussian_filter(filled, radius / 5) + 0.16 * rough(shape, radius / 2, random)
    broken = np.clip((soft - 0.5) * radius / 2.5 + 0.5, 0, 1)
    return (broken * _piece(broken > 0)).astype(np.float32)


def rough(shape: tuple[int, int], scale: float, random: np.random.Generator) -> np.ndarray:
    """Return noise with standard deviation 1 and structure at `scale` pixels and, weaker, below."""
    total = np.zeros(shape, np.float32)
    for part in (1.0, 0.5, 0.25):
        sigma = max(0.5, scale * part / 2)
        small = max(1, int(sigma / 2))  # smooth noise can be drawn at a lower resolution
        coarse = random.standard_normal((shape[0] // small + 3, shape[1] // small + 3)).astype(np.float32)
        smooth = ndimage.gaussian_filter(coarse, sigma / small)
        large = ndimage.zoom(smooth, small, order=1) if small > 1 else smooth
        total += part * large[: shape[0], : shape[1]] / max(float(large.std()), 1e-6)
    return total / max(float(total.std()), 1e-6)


def _piece(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected piece of `mask`, because very uneven borders break up into islands."""
    labels, n = ndimage.label(mask)
    if n < 2:
        return mask
    return labels == int(np.argmax(ndimage.sum_labels(mask, labels, range(1, n + 1)))) + 1
