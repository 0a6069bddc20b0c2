"""The scan: how far the latest parts lie from the reference, in windows of several lengths, after every few parts. Pure.

Short windows find large shifts at once, long windows find small ones (a multiscale scan statistic). Two statistics are used:

distance  Hotelling's T² of the window's mean, over all descriptors together; small shifts of several descriptors add up
largest   the largest standardised shift of a single descriptor, squared
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EVERY = 8  # parts between two looks


@dataclass(frozen=True)
class Looks:
    """The statistics after every few parts. `ends` [k]: number of parts seen; `distance`, `largest` [k, w] by window length,
    and 0 where a window is not full."""

    ends: np.ndarray
    lengths: tuple[int, ...]
    distance: np.ndarray
    largest: np.ndarray

    @property
    def strongest(self) -> np.ndarray:
        """Both statistics, each in the window in which it is largest, [k, 2]."""
        return np.stack([self.distance.max(axis=1), self.largest.max(axis=1)], axis=1)


def lengths(shortest: int, longest: int) -> tuple[int, ...]:
    """Return window lengths from `shortest` to `longest` parts, each about √2 times the one before; multiples of `EVERY`."""
    steps = max(0, round(2 * np.log2(longest / shortest)))
    wanted = [*(shortest * 2 ** (step / 2) for step in range(steps)), longest]
    return tuple(dict.fromkeys(max(1, int(n / EVERY)) * EVERY for n in wanted))


def squared_shifts(
    values: np.ndarray, error: np.ndarray, windows: tuple[int, ...], factors: np.ndarray | None = None
) -> list[np.ndarray]:
    """Return the squared standardised shift of each column of `values` [n, d], for each window length an array [k, d].

    Rows are the looks; those before the window is full are 0. `error` [d] is the variance of the
    reference's mean, `factors` [w, d] inflate that of the window's.
    """
    ends = np.arange(EVERY, len(values) + 1, EVERY)
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    squares = []
    for at, n in enumerate(windows):
        full = ends[ends >= n]
        mean = (sums[full] - sums[full - n]) / n
        factor = 1.0 if factors is None else factors[at]
        empty = np.zeros((len(ends) - len(full), values.shape[1]))
        squares.append(np.concatenate([empty, mean**2 / (factor / n + error)]))
    return squares


def scan(
    rows: np.ndarray,
    whitening: np.ndarray,
    errors: Sequence[np.ndarray],
    windows: tuple[int, ...],
    factors: tuple[np.ndarray, np.ndarray] | None = None,
    scales: np.ndarray | None = None,
) -> Looks:
    """Scan standardised parts `rows` [n, d], oldest first.

    factors  two times [w, d]: inflation of the variance of the window's mean, of whitened axes and of descriptors; None: 1
    scales   [w, d] by which the shift of a descriptor is divided, because its tails are heavier than normal; None: 1
    """
    of_axes, of_descriptors = factors or (None, None)
    axes = squared_shifts(rows @ whitening, errors[0], windows, of_axes)
    descriptors = squared_shifts(rows, errors[1], windows, of_descriptors)
    by_scale = np.ones((len(windows), 1)) if scales is None else scales
    return Looks(
        ends=np.arange(EVERY, len(rows) + 1, EVERY),
        lengths=windows,
        distance=np.stack([squares.sum(axis=1) for squares in axes], axis=1),
        largest=np.stack([(squares / by_scale[at] ** 2).max(axis=1) for at, squares in enumerate(descriptors)], axis=1),
    )
