"""A real defect cut from one part and set into another without a seam (Pérez et al., Poisson Image Editing, 2003)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

MARGIN_PX = 3  # of surface around the defect, where the blending happens
MAX_SIDE_PX = 256  # of a region: a larger one is no defect to paste but most of a part


def paste(
    target: np.ndarray, source: np.ndarray, mask: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray] | None:
    """The target with the source's defect at a place drawn at random, flipped at random, and the mask there.

    Pixels float32 H×W×C in [0, 1] with equal C; `mask` bool of the source's size. None when the defect does not fit.
    """
    region = _region(mask)
    if region is None:
        return None
    cut, shape = source[region], mask[region]
    for axis in (0, 1):
        if random.random() < 0.5:
            cut, shape = np.flip(cut, axis), np.flip(shape, axis)
    height, width = shape.shape
    if height > target.shape[0] - 2 or width > target.shape[1] - 2:
        return None
    top = int(random.integers(1, target.shape[0] - height))
    left = int(random.integers(1, target.shape[1] - width))
    place = (slice(top, top + height), slice(left, left + width))
    made, placed = target.copy(), np.zeros(target.shape[:2], bool)
    made[place] = blend(target[place], cut, ndimage.binary_dilation(shape, iterations=MARGIN_PX - 1))
    placed[place] = shape
    return made, placed


def blend(below: np.ndarray, above: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """`above` where `inside`, shifted by the smoothest field that meets `below` at the border. All of one size.

    The field is harmonic: the solution of Laplace's equation with the difference at the border as boundary values.
    """
    inside = inside.copy()
    inside[[0, -1]], inside[:, [0, -1]] = False, False
    if not inside.any():
        return below
    number = np.full(inside.shape, -1)
    rows, columns = np.nonzero(inside)
    number[rows, columns] = np.arange(len(rows))
    neighbours = [(rows + y, columns + x) for y, x in ((0, 1), (0, -1), (1, 0), (-1, 0))]
    known = below - above
    right = np.zeros((len(rows), below.shape[2]))
    entries: list[tuple[np.ndarray, np.ndarray]] = []
    for near in neighbours:
        unknown = number[near] >= 0
        entries.append((np.flatnonzero(unknown), number[near][unknown]))
        right[~unknown] += known[near][~unknown]
    at = np.concatenate([first for first, _ in entries])
    to = np.concatenate([second for _, second in entries])
    matrix = sparse.coo_matrix((-np.ones(len(at)), (at, to)), shape=(len(rows), len(rows)))
    field = spsolve((matrix + 4 * sparse.eye(len(rows))).tocsc(), right).reshape(len(rows), -1)
    result = below.copy()
    result[rows, columns] = np.clip(above[rows, columns] + field, 0, 1)
    return result


def _region(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Where the largest connected defect lies, with a margin; None when it is nothing, or too large."""
    labels, n = ndimage.label(mask)
    if not n:
        return None
    largest = int(np.argmax(ndimage.sum_labels(mask, labels, range(1, n + 1)))) + 1
    rows, columns = ndimage.find_objects(labels)[largest - 1]
    top, bottom = max(0, rows.start - MARGIN_PX), min(mask.shape[0], rows.stop + MARGIN_PX)
    left, right = max(0, columns.start - MARGIN_PX), min(mask.shape[1], columns.stop + MARGIN_PX)
    if bottom - top > MAX_SIDE_PX or right - left > MAX_SIDE_PX:
        return None
    return slice(top, bottom), slice(left, right)
