"""Generated series of parts that look alike: one design, and for every part its own noise, surface, light and pose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

SIDE_PX = 160


def casting(number: int, *, surface: float = 0.0, shift_px: float = 1.0, turn_deg: float = 0.7) -> np.ndarray:
    """uint8 [160, 160, 1]: a round casting in a holder; `surface` is the strength of the part's own roughness."""
    random = np.random.default_rng([1, number])
    part = _casting_design() + _roughness(random, surface)
    part = _light(_posed(part, random, shift_px, turn_deg), random)
    return _photographed(part, random)


def board(number: int) -> np.ndarray:
    """uint8 [160, 160, 1]: one layout of components, each within a pixel of its place, and not equally bright."""
    layout, random = np.random.default_rng(7), np.random.default_rng([2, number])
    part = np.full((SIDE_PX, SIDE_PX), 70.0)
    for _ in range(40):
        top, left = layout.integers(4, SIDE_PX - 30, 2)
        height, width = layout.integers(5, 26, 2)
        top, left = top + random.integers(-1, 2), left + random.integers(-1, 2)
        part[top : top + height, left : left + width] = layout.uniform(30, 220) + random.normal(0, 6)
    part = ndimage.gaussian_filter(part, 0.8)
    return _photographed(_light(_posed(part, random, 1.5, 0.3), random), random)


def loose(number: int) -> np.ndarray:
    """uint8 [160, 160, 1]: a small metal part on a dark ground, lying at any angle, with a rough surface of its own."""
    random = np.random.default_rng([3, number])
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] - SIDE_PX / 2 + 0.5
    angle = random.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y + random.uniform(-4, 4)
    across = np.cos(angle) * y - np.sin(angle) * x + random.uniform(-4, 4)
    inside = (abs(along) < 50) & (abs(across) < 18)
    part = np.where(inside, 150 + 20 * np.cos(along / 6) + _roughness(random, 6), 35)
    for hole in (-31, 31):
        part = np.where(np.hypot(along - hole, across) < 7, 40, part)
    return _photographed(ndimage.gaussian_filter(part, 0.7), random)


SERIES: dict[str, Callable[[int], np.ndarray]] = {
    "casting held fast, new noise": lambda number: casting(number, shift_px=0, turn_deg=0),
    "casting, new noise, small pose": casting,
    "casting, faint surface of its own": lambda number: casting(number, surface=2),
    "casting, rough surface of its own": lambda number: casting(number, surface=6),
    "populated board": board,
    "loose part at any angle": loose,
}


def _casting_design() -> np.ndarray:
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX - 0.5
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    design = np.where(radius < 0.46, 150.0, 60.0)
    design[(radius < 0.46) & (radius > 0.42)] = 185
    design += 25 * np.cos(6 * angle + 8 * radius) * ((radius < 0.38) & (radius > 0.15))
    design[radius < 0.14] = 110
    design[radius < 0.06] = 40
    return np.asarray(ndimage.gaussian_filter(design, 0.8))


def _roughness(random: np.random.Generator, strength: float) -> np.ndarray:
    fine = ndimage.gaussian_filter(random.standard_normal((SIDE_PX, SIDE_PX)), 1)
    coarse = ndimage.gaussian_filter(random.standard_normal((SIDE_PX, SIDE_PX)), 4)
    return strength * (2.5 * fine + 7 * coarse)


def _posed(part: np.ndarray, random: np.random.Generator, shift_px: float, turn_deg: float) -> np.ndarray:
    angle = np.deg2rad(turn_deg * random.uniform(-1, 1))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array(part.shape) / 2
    offset = centre - turn @ centre + random.uniform(-1, 1, 2) * shift_px
    return np.asarray(ndimage.affine_transform(part, turn, offset, order=1, mode="nearest"))


def _light(part: np.ndarray, random: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX - 0.5
    return part * (1 + random.normal(0, 0.05) * x + random.normal(0, 0.05) * y) * random.uniform(0.9, 1.1)


def _photographed(part: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.clip(part + random.normal(0, 2, part.shape), 0, 255).astype(np.uint8)[..., None]
