"""Pastes a real defect from one part into another without a seam (Pérez et al., Poisson Image Editing, 2003).

Pixels are float32 H×W×C in [0, 1]. Gradients are transferred, scaled by the brightness of the new position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

MARGIN_PX = 3  # surface around the defect, for blending
MOST_PX = 60_000  # maximum pixels of a defect; the system of equations has one unknown per pixel
MOST_SHARE = 0.4  # maximum share of the target
PLACES = 16  # positions that are tried; the one with the most similar surroundings is used
WORST = 0.12  # maximum mismatch of full scale; beyond it, the paste would be obvious
GAIN = (0.4, 2.5)  # limits of the scaling


@dataclass(frozen=True)
class Cut:
    """A defect with a margin: pixels, mask, and which of its sides touch the border of the source image."""

    pixels: np.ndarray  # float32 [h, w, c]
    mask: np.ndarray  # bool [h, w]
    at_border: tuple[bool, bool, bool, bool]  # top, bottom, left, right


@dataclass(frozen=True)
class Place:
    """A position on a target for a defect, which may be flipped."""

    defect: Cut
    window: tuple[slice, slice]
    mismatch: float  # mean difference of the surroundings, of full scale


def cut(source: np.ndarray, mask: np.ndarray) -> Cut | None:
    """Cut out the largest connected defect of `mask` (bool, the source's size). None if absent or too large."""
    labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
    if not n:
        return None
    largest = int(np.argmax(ndimage.sum_labels(mask, labels, range(1, n + 1)))) + 1
    rows, columns = ndimage.find_objects(labels)[largest - 1]
    top, bottom = rows.start - MARGIN_PX, rows.stop + MARGIN_PX
    left, right = columns.start - MARGIN_PX, columns.stop + MARGIN_PX
    at_border = (top < 0, bottom > mask.shape[0], left < 0, right > mask.shape[1])
    place = (slice(max(0, top), bottom), slice(max(0, left), right))
    shape = labels[place] == largest
    if shape.size > 4 * MOST_PX or shape.sum() > MOST_PX:
        return None
    return Cut(source[place], shape, at_border)


def find_place(target: np.ndarray, defect: Cut, part: np.ndarray, random: np.random.Generator) -> Place | None:
    """Return the best of some random positions on `part` (bool [h, w]), with the defect randomly flipped. None if none fits.

    A defect that touched the border of its image, such as a broken edge, is placed at the border again.
    """
    candidates: list[Place] = []
    height, width = defect.mask.shape
    if height >= target.shape[0] or width >= target.shape[1] or height * width > MOST_SHARE * part.size:
        return None
    for _ in range(PLACES):
        flipped = _flipped(defect, random)
        top, bottom, left, right = flipped.at_border
        window = (
            _along(height, target.shape[0], top, bottom, random),
            _along(width, target.shape[1], left, right, random),
        )
        if any(flipped.at_border) or part[window][flipped.mask].all():
            candidates.append(Place(flipped, window, _mismatch(target[window], flipped)))
    best = min(candidates, key=lambda place: place.mismatch, default=None)
    return best if best is not None and best.mismatch < WORST else None


def paste(target: np.ndarray, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Paste the defect. Returns the image and its mask."""
    defect, window = place.defect, place.window
    made, mask = target.copy(), np.zeros(target.shape[:2], bool)
    around = ~defect.mask
    gain = float(np.clip(target[window][around].mean() / max(defect.pixels[around].mean(), 0.02), *GAIN))
    inside = ndimage.binary_dilation(defect.mask, iterations=MARGIN_PX - 1)
    made[window] = blend(target[window], defect.pixels * gain, _inner(inside, defect.at_border))
    mask[window] = defect.mask
    return made, mask


def blend(below: np.ndarray, above: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Blend `above` into `below` where `inside`, shifted by the smoothest field that matches `below` at the border.

    All arrays have the same size. The field solves Laplace's equation with the difference at the border as boundary
    values; the rim of the window has none.
    """
    rows, columns = np.nonzero(inside)
    if not len(rows) or inside.all():
        return below
    number = np.full(inside.shape, -1)
    number[rows, columns] = np.arange(len(rows))
    difference = (below - above).astype(np.float64)
    right = np.zeros((len(rows), below.shape[2]))
    neighbours = np.zeros(len(rows))
    entries: list[tuple[np.ndarray, np.ndarray]] = []
    for down, across in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        near = (rows + down, columns + across)
        inside_image = (near[0] >= 0) & (near[0] < inside.shape[0]) & (near[1] >= 0) & (near[1] < inside.shape[1])
        neighbours += inside_image
        of = np.flatnonzero(inside_image)
        at = number[near[0][of], near[1][of]]
        entries.append((of[at >= 0], at[at >= 0]))
        right[of[at < 0]] += difference[near[0][of[at < 0]], near[1][of[at < 0]]]
    first, second = (np.concatenate(ends) for ends in zip(*entries, strict=True))
    matrix = sparse.coo_matrix((-np.ones(len(first)), (first, second)), shape=(len(rows), len(rows)))
    field = spsolve((matrix + sparse.diags(neighbours)).tocsc(), right).reshape(len(rows), -1)
    result = below.copy()
    result[rows, columns] = np.clip(above[rows, columns] + field, 0, 1)
    return result


def _flipped(defect: Cut, random: np.random.Generator) -> Cut:
    pixels, mask, (top, bottom, left, right) = defect.pixels, defect.mask, defect.at_border
    if random.random() < 0.5:
        pixels, mask, top, bottom = pixels[::-1], mask[::-1], bottom, top
    if random.random() < 0.5:
        pixels, mask, left, right = pixels[:, ::-1], mask[:, ::-1], right, left
    return Cut(pixels, mask, (top, bottom, left, right))


def _along(size: int, whole: int, at_start: bool, at_end: bool, random: np.random.Generator) -> slice:
    start = int(random.integers(0, whole - size + 1))
    if at_start or at_end:
        start = 0 if at_start else whole - size
    return slice(start, start + size)


def _mismatch(below: np.ndarray, defect: Cut) -> float:
    """Return the difference of the two surroundings, mostly independent of brightness."""
    around = ~defect.mask
    if not around.any():
        return 1.0
    surroundings, here = below[around].mean(axis=1), defect.pixels[around].mean(axis=1)
    scaled = here * (surroundings.mean() / max(float(here.mean()), 0.02))
    return float(np.abs(surroundings - scaled).mean() + 0.25 * abs(surroundings.mean() - here.mean()))


def _inner(inside: np.ndarray, at_border: tuple[bool, bool, bool, bool]) -> np.ndarray:
    """Return `inside` without the rim of the window, except at the border of the image."""
    top, bottom, left, right = at_border
    inner = inside.copy()
    inner[: 0 if top else 1] = False
    inner[inside.shape[0] - (0 if bottom else 1) :] = False
    inner[:, : 0 if left else 1] = False
    inner[:, inside.shape[1] - (0 if right else 1) :] = False
    return inner
