"""The limits of an alarm, such that an unchanged line alarms as often as was promised. Pure.

Months of unchanged production are drawn from the reference, and scanned as production is. The reference itself is drawn anew
each time, because a reference of a few hundred parts differs from the production that it stands for (Gandy and Kvaløy,
Guaranteed Conditional Performance of Control Charts via Bootstrap Methods, 2013). Rare maxima are extrapolated with an
exponential tail (peaks over threshold; Pickands, 1975).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.monitoring import scan, standardised

REFERENCES = 48  # drawn references
STREAM = 4096  # parts drawn for each
TAIL = 0.1  # share of the maxima that the tail is fitted to
FREQUENT = 0.99
HEAVY = (0.999, 3.29)  # quantile of absolute shifts, and its value for a normal distribution


@dataclass(frozen=True)
class Limits:
    """Limits of the two statistics.

    frequent  values that an unchanged line of independent parts exceeds at a share of 1 − `FREQUENT` of the looks
    scales    [w, d] of `scan.scan`
    """

    distance: float
    largest: float
    frequent: tuple[float, float]
    scales: np.ndarray


def limits(
    columns: np.ndarray,
    names: Sequence[str],
    slices: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray,
    windows: tuple[int, ...],
    parts_per_alarm: float,
    seed: int = 0,
) -> Limits:
    """Return the limits for one false alarm in `parts_per_alarm` parts. The first five arguments are those of
    `standardised.fit`. Each statistic may cause half of the false alarms."""
    random = np.random.default_rng(seed)
    streams = [_stream(columns, names, slices, weights, groups, random) for _ in range(REFERENCES)]
    squares = [scan.squared_shifts(rows, scale.errors[1], windows) for rows, scale in streams]
    scales = np.stack([_heaviness(np.concatenate([one[at] for one in squares])) for at in range(len(windows))])
    looks = [scan.scan(rows, scale.whitening, scale.errors, windows, scales=scales) for rows, scale in streams]
    chance = windows[-1] / (2 * parts_per_alarm)
    of_each = [[one.strongest[:, kind] for one in looks] for kind in range(2)]
    limits = [quantile(np.concatenate([_maxima(one, windows) for one in kind]), chance) for kind in of_each]
    frequent = [float(np.quantile(np.concatenate(kind), FREQUENT)) for kind in of_each]
    return Limits(limits[0], limits[1], (frequent[0], frequent[1]), scales)


def quantile(maxima: np.ndarray, chance: float) -> float:
    """Return the value that a maximum exceeds with probability `chance`."""
    if chance >= TAIL:
        return float(np.quantile(maxima, 1 - min(chance, 1.0)))
    start = float(np.quantile(maxima, 1 - TAIL))
    excess = float(np.mean(maxima[maxima >= start] - start))
    return start + excess * float(np.log(TAIL / chance))


def _stream(
    columns: np.ndarray,
    names: Sequence[str],
    slices: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray,
    random: np.random.Generator,
) -> tuple[np.ndarray, standardised.Scale]:
    """Draw a reference and production of the same slices. Returns the standardised production and its scale."""
    drawn = np.concatenate([random.choice(rows, len(rows)) for rows in _rows_of(groups)])
    scale = standardised.fit(columns[drawn], names, slices[drawn], weights[drawn], groups[drawn])
    on_the_scale = scale.standardise(columns, slices)
    return on_the_scale[random.choice(len(columns), STREAM, p=weights / weights.sum())], scale


def _rows_of(groups: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(groups == group) for group in np.unique(groups)]


def _heaviness(squares: np.ndarray) -> np.ndarray:
    share, normal = HEAVY
    scales: np.ndarray = np.maximum(np.sqrt(np.quantile(squares, share, axis=0)) / normal, 1.0)
    return scales


def _maxima(statistic: np.ndarray, windows: tuple[int, ...]) -> np.ndarray:
    """Return the largest value in each stretch of parts as long as the longest window."""
    looks = windows[-1] // scan.EVERY
    stretches = len(statistic) // looks
    largest: np.ndarray = statistic[: stretches * looks].reshape(stretches, looks).max(axis=1)
    return largest[1:]  # in the first stretch, not all windows are full
