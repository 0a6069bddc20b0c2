"""Procedural defects: shapes that change the surface below them. Pure.

Pixels are float32 H×W×C in [0, 1]. Sizes are relative to the image's shorter side. The strength of a defect depends on the
surface at its position: it must stand out from the texture and match the light.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import numpy as np
from scipy import ndimage

from models.synthesis import shapes

VISIBLE = 0.25  # opacity from which a pixel belongs to the mask
SEEN = 0.8  # minimum mean change relative to the texture's deviation; smaller changes are invisible
SMALLEST_PX = 12
FAINTEST = 0.015  # minimum mean change of full scale
AT_FRAME = 0.5  # share of missing areas at the image's border, if the part fills the image
COLOURED = 0.01  # minimum difference between the channels of a colour image, of full scale
SIDE_PX = 200  # part size for which line widths are given

Change = tuple[np.ndarray, np.ndarray]  # new pixels, and the shape [h, w] in [0, 1], whose visible part is the mask


class Kind(StrEnum):
    SCRATCH = "scratch"
    DENT = "dent"
    SPOT = "spot"
    CRACK = "crack"
    STAIN = "stain"
    MISSING = "missing-area"


def draw(
    image: np.ndarray, kind: Kind, random: np.random.Generator, part: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Draw one defect on `part` (bool [h, w]; None: everywhere). Returns the image and its mask bool [h, w].

    The same generator state gives the same defect. Returns None if the defect would not be visible.
    """
    everywhere = np.ones(image.shape[:2], bool)
    made, shape = _EFFECTS[kind](image, everywhere if part is None or not part.any() else part, random)
    made = np.clip(made, 0, 1).astype(np.float32)
    mask = shape > VISIBLE
    if mask.sum() < SMALLEST_PX:
        return None
    change = float(np.abs(made - image).max(axis=2)[mask].mean())
    return (made, mask) if change > max(FAINTEST, SEEN * _texture(image, mask)) else None


def _scratch(image: np.ndarray, part: np.ndarray, random: np.random.Generator) -> Change:
    """Draw one to three parallel grooves, each with a dark and a bright flank, fading at the ends."""
    side = min(image.shape[:2])
    angle, middle = random.uniform(0, 2 * np.pi), _somewhere(part, random)
    length, pen = random.uniform(0.25, 0.8) * side, max(0.5, random.uniform(0.5, 1.0) * side / SIDE_PX)
    groove, flank = np.zeros(part.shape, np.float32), np.zeros(part.shape, np.float32)
    along, across = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    start = middle - along * length / 2
    for number in range(int(random.choice([1, 1, 1, 2, 3]))):
        beside = (
            start + across * number * random.uniform(2, 5) * pen + random.normal(0, 0.04 * length, 2) * (number > 0)
        )
        line = shapes.path(beside, length * random.uniform(0.6, 1), random, angle=angle, jitter=0.006, hold=0.97)
        press = shapes.pressure(len(line), random, broken=random.uniform(0, 0.35))
        groove = np.maximum(groove, shapes.stroke(part.shape, line, pen, press))
        flank = np.maximum(flank, shapes.stroke(part.shape, line + across * 1.6 * pen, pen, press))
    strength = _strength(image, groove > VISIBLE, random, 3.5, 7)
    sign = _direction(image, groove > VISIBLE, strength, 0.5, random)
    return image + (strength * sign * (groove - 0.45 * flank * (1 - groove)))[..., None], np.maximum(
        groove, flank * 0.5
    )


def _crack(image: np.ndarray, part: np.ndarray, random: np.random.Generator) -> Change:
    """Draw a dark, jagged, branching line."""
    side = min(image.shape[:2])
    angle, pen = random.uniform(0, 2 * np.pi), max(0.5, random.uniform(0.4, 0.8) * side / SIDE_PX)
    length = random.uniform(0.2, 0.8) * side
    start = _somewhere(part, random) - np.array([np.sin(angle), np.cos(angle)]) * length / 2
    trunk = shapes.path(start, length, random, angle=angle, jitter=0.3, hold=0.8)
    opacity = shapes.stroke(part.shape, trunk, pen, shapes.pressure(len(trunk), random, broken=0.05))
    for _ in range(int(random.integers(0, 4))):
        off = angle + random.choice([-1, 1]) * random.uniform(0.4, 1.1)
        start, length = trunk[random.integers(len(trunk))], random.uniform(0.05, 0.2) * side
        branch = shapes.path(start, length, random, angle=off, jitter=0.3, hold=0.8)
        fading = np.linspace(0.8, 0.1, len(branch))
        opacity = np.maximum(opacity, 0.8 * shapes.stroke(part.shape, branch, 0.8 * pen, fading))
    dark = _darkening(image, opacity > VISIBLE, random, 3.5, 7)
    halo = 0.15 * ndimage.gaussian_filter(opacity, 2.5 * pen)
    return image * (1 - dark * np.clip(opacity + halo, 0, 1))[..., None], opacity


def _dent(image: np.ndarray, part: np.ndarray, random: np.random.Generator) -> Change:
    """Draw a shallow bowl: the texture in it is displaced, one side is lighter and the other darker."""
    side = min(image.shape[:2])
    tall, wide = random.uniform(0.05, 0.14, 2) * side
    base = shapes.blotch(part.shape, _somewhere(part, random), (tall, wide), random, uneven=0.06)
    bowl = ndimage.gaussian_filter(
        base**2 * (3 - 2 * base), 0.08 * min(tall, wide)
    )  # flat at the rim, without a visible edge
    down, right = np.gradient(bowl)
    steepest = max(float(np.hypot(down, right).max()), 1e-6)
    angle = random.uniform(0, 2 * np.pi)
    slope = (np.sin(angle) * down + np.cos(angle) * right) / steepest
    pull = random.uniform(0.8, 2.5) * side / SIDE_PX / steepest
    y, x = np.mgrid[: part.shape[0], : part.shape[1]].astype(np.float32)
    moved = np.stack(
        [
            ndimage.map_coordinates(image[..., channel], [y + pull * down, x + pull * right], order=1, mode="nearest")
            for channel in range(image.shape[2])
        ],
        axis=2,
    )
    shape = np.clip(np.hypot(down, right) / steepest + bowl, 0, 1)
    depth = min(0.4, _darkening(image, shape > VISIBLE, random, 3, 6))
    return moved * (1 + depth * (slope + 0.3 * np.clip(slope, 0, 1) ** 3))[..., None], shape


def _spot(image: np.ndarray, part: np.ndarray, random: np.random.Generator) -> Change:
    """Draw one or a few pits, dark with a lit edge, or, more rarely, bright inclusions."""
    side = min(image.shape[:2])
    at, opacity = _somewhere(part, random), np.zeros(part.shape, np.float32)
    for number in range(int(random.choice([1, 1, 1, 2, 4]))):
        centre = at + random.normal(0, 0.06 * side, 2) * (number > 0)
        radius = max(2.2, random.uniform(0.015, 0.05) * side * (0.5 if number else 1))
        radii = (radius, radius * random.uniform(0.6, 1.6))
        hill = shapes.blotch(part.shape, centre, radii, random, uneven=0.15)
        opacity = np.maximum(opacity, np.clip(hill * 2.5, 0, 1))
    opacity = ndimage.gaussian_filter(opacity, 0.6)
    inside = opacity * np.clip(1 + 0.2 * shapes.rough(part.shape, 3, random), 0.4, 1.4)
    strength = _strength(image, opacity > VISIBLE, random, 3, 6)
    if _direction(image, opacity > VISIBLE, strength, 0.2, random) > 0:
        return image + (strength * inside)[..., None], opacity
    dark = _darkening(image, opacity > VISIBLE, random, 4, 8)
    return image * (1 - dark * np.clip(inside, 0, 1))[..., None] + (0.3 * strength * _lit(opacity, random))[
        ..., None
    ], opacity


def _stain(image: np.ndarray, part: np.ndarray, random: np.random.Generator) -> Change:
    """Draw a dried drop: it darkens or tints the surface without hiding it, most at its rim."""
    side = min(image.shape[:2])
    tall, wide = random.uniform(0.08, 0.22, 2) * side
    hill = shapes.blotch(part.shape, _somewhere(part, random), (tall, wide), random, uneven=0.22)
    soft = random.uniform(0.1, 0.5)
    opacity = ndimage.gaussian_filter(np.clip(hill / soft, 0, 1), 0.01 * side)
    rim = ndimage.gaussian_filter(4 * opacity * (1 - opacity), 0.008 * side)
    mottled = np.clip(1 + 0.3 * shapes.rough(part.shape, 0.1 * side, random), 0.2, 1.8)
    depth = (0.65 * opacity * mottled + random.uniform(0, 0.5) * rim) * _darkening(
        image, opacity > VISIBLE, random, 1.5, 3
    )
    tinted = float(np.ptp(image, axis=2).mean()) > COLOURED
    colour = np.sort(random.uniform(0.4, 1, image.shape[2])) if tinted else np.ones(1)  # blue is lost first
    return image * (1 - depth[..., None] * colour), opacity


def _missing(image: np.ndarray, part: np.ndarray, random: np.random.Generator) -> Change:
    """Draw a missing area: broken off at the part's edge, or, without a visible edge, flaked off its face."""
    side = min(image.shape[:2])
    radius = random.uniform(0.05, 0.13) * side
    edge = part & ~ndimage.binary_erosion(part, iterations=2, border_value=1)
    frame = np.ones_like(part)
    frame[2:-2, 2:-2] = False
    if not part.all() and edge.sum() > side / 2:
        lost = shapes.chip(part.shape, _somewhere(edge, random), radius, random)
        near = ndimage.binary_dilation(lost > 0, iterations=int(radius)) & ~part
        below = image[near if near.any() else ~part].mean(axis=0) + np.zeros_like(image)
    else:
        at = _somewhere(part & frame if random.random() < AT_FRAME and (part & frame).any() else part, random)
        lost = shapes.chip(part.shape, at, radius, random)
        ground = ndimage.gaussian_filter(image, (radius / 2, radius / 2, 0)) * random.uniform(0.3, 0.65)
        grain = _texture(image, lost > 0.5) * (
            1.2 * shapes.rough(part.shape, 3, random) + random.normal(0, 0.5, part.shape)
        )
        below = ground + grain[..., None]
    lit = _lit(lost, random) * max(0.08, 2 * _texture(image, lost > 0.5))
    made = image * (1 - lost[..., None]) + below * lost[..., None] + lit[..., None]
    inside = part if not part.all() else np.ones_like(part)
    return np.where(inside[..., None], made, image), lost * inside


_EFFECTS: dict[Kind, Callable[[np.ndarray, np.ndarray, np.random.Generator], Change]] = {
    Kind.SCRATCH: _scratch,
    Kind.DENT: _dent,
    Kind.SPOT: _spot,
    Kind.CRACK: _crack,
    Kind.STAIN: _stain,
    Kind.MISSING: _missing,
}


def _somewhere(allowed: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return row and column of a random allowed pixel."""
    places = np.flatnonzero(allowed)
    return np.array(divmod(int(places[random.integers(len(places))]), allowed.shape[1]), dtype=float)


def _texture(image: np.ndarray, mask: np.ndarray) -> float:
    """Return the small-scale variation of the surface around `mask`, which a defect must exceed."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return 0.0
    reach = 10
    window = image[
        max(0, rows.min() - reach) : rows.max() + reach, max(0, columns.min() - reach) : columns.max() + reach
    ]
    grey = window.mean(axis=2)
    return float((grey - ndimage.gaussian_filter(grey, 3)).std())


def _level(image: np.ndarray, mask: np.ndarray) -> float:
    return float(image[mask].mean()) if mask.any() else float(image.mean())


def _strength(image: np.ndarray, mask: np.ndarray, random: np.random.Generator, least: float, most: float) -> float:
    """Return a change in brightness that stands out from the texture and depends on the local brightness."""
    floor = 0.03 + 0.12 * _level(image, mask)
    return min(0.5, max(floor, _texture(image, mask) * random.uniform(least, most)))


def _darkening(image: np.ndarray, mask: np.ndarray, random: np.random.Generator, least: float, most: float) -> float:
    """Return the same change as a share of the local brightness."""
    return min(0.85, _strength(image, mask, random, least, most) / max(0.05, _level(image, mask)))


def _direction(
    image: np.ndarray, mask: np.ndarray, strength: float, bright: float, random: np.random.Generator
) -> float:
    """Return +1 for brighter, with probability `bright`, or −1 for darker, avoiding clipping."""
    level, wants = _level(image, mask), random.random() < bright
    if level < strength:
        return 1.0
    return 1.0 if wants and level + strength < 1 else -1.0


def _lit(shape: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return [h, w] in [-1, 1]: the shape's edge, bright towards a random light and dark on the other side."""
    soft = ndimage.gaussian_filter(shape, 0.8)
    down, right = np.gradient(soft)
    angle = random.uniform(0, 2 * np.pi)
    slope = np.sin(angle) * down + np.cos(angle) * right
    return slope / max(float(np.abs(slope).max()), 1e-6)
