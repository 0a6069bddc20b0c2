"""Standardised descriptors: parts of any slice on one scale, on which the reference has mean 0 and covariance 1. Pure.

A part is compared with the reference of its own slice, so a line that alternates between products needs no matching of
shares. Descriptors become normal scores of their rank in the reference (van der Waerden, 1952): no unit, no influence of
outliers. The score is also used as it is: its mean is the expected share of defective parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from models.metrics import class_mix

NOT_DESCRIPTORS = ("part", "slice", "defective")  # columns of a reference that describe no image
FEWEST = 20  # reference parts of a slice that is compared by itself
EXPECTED_DEFECTS = "expected_defects"  # the calibrated score as a probability, not as a rank
BEYOND = 4.0  # spreads that a value may lie beyond the reference; farther is no different
PARTS_PER_AXIS = 8  # reference parts that an axis needs; the axes of largest variance are kept
RIDGE = 0.1  # of the covariance, so that nearly dependent descriptors are not amplified


@dataclass(frozen=True)
class Ranks:
    """The scale of one slice: its sorted descriptors, the normal score at and between them, mean and spread of the
    scores."""

    values: tuple[np.ndarray, ...]  # [k ≤ m] distinct values of each descriptor
    between: tuple[np.ndarray, ...]  # [k + 1] normal score of a value between two of them
    at: tuple[np.ndarray, ...]  # [k] normal score of each of them
    spreads: np.ndarray  # [d] standard deviations, the unit of values beyond the reference
    expected: float  # mean score
    spread: float  # its standard deviation

    @classmethod
    def of(cls, columns: np.ndarray, score: np.ndarray, weights: np.ndarray) -> Ranks:
        """Rank `columns` [m, d] with `weights` [m], and take mean and spread of `score` [m]."""
        share = weights / weights.sum()
        edge = 0.5 / (1 / np.sum(share**2) + 1)  # no rank can be more extreme than a reference of this size shows
        parts = [_ranks(column, share, edge) for column in columns.T]
        expected = float(share @ score)
        spread = float(np.sqrt(max(share @ (score - expected) ** 2, 1e-6)))
        values, between, at = (tuple(part[kind] for part in parts) for kind in range(3))
        spreads = np.sqrt(share @ (columns - share @ columns) ** 2)
        return cls(values, between, at, np.maximum(spreads, 1e-9), expected, spread)

    def scores(self, columns: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Return the normal scores of `columns` [n, d] and the standardised `score` [n], as [n, d + 1]."""
        scaled = np.empty((len(columns), columns.shape[1] + 1))
        for number, column in enumerate(columns.T):
            values = self.values[number]
            place = np.searchsorted(values, column)
            is_value = values[np.minimum(place, len(values) - 1)] == column
            at = self.at[number][np.minimum(place, len(values) - 1)]
            beyond = np.maximum(column - values[-1], 0) - np.maximum(values[0] - column, 0)
            steps = np.clip(beyond / self.spreads[number], -BEYOND, BEYOND)
            scaled[:, number] = np.where(is_value, at, self.between[number][place]) + steps
        scaled[:, -1] = (score - self.expected) / self.spread
        return scaled


def _ranks(column: np.ndarray, share: np.ndarray, edge: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values, which = np.unique(column, return_inverse=True)
    mass = np.bincount(which, share)
    below = np.concatenate([[0.0], np.cumsum(mass)])

    def normal(probability: np.ndarray) -> np.ndarray:
        scores: np.ndarray = ndtri(np.clip(probability, edge, 1 - edge))
        return scores

    return values, normal(below), normal(below[:-1] + mass / 2)


@dataclass(frozen=True)
class Scale:
    """The scale of a reference. `names` [d + 1] are the descriptors and `EXPECTED_DEFECTS`.

    whitening  [d + 1, d]: rows times whitening are uncorrelated; the expected defects, which have heavy tails, have no
    weight
    errors     variance of the reference's mean, on the whitened axes [d] and of the descriptors [d + 1]
    """

    names: tuple[str, ...]
    of_slice: Mapping[str | None, Ranks]  # None: all slices together, for parts of an unknown slice
    whitening: np.ndarray
    errors: tuple[np.ndarray, ...]

    def standardise(self, columns: np.ndarray, slices: np.ndarray) -> np.ndarray:
        """Return `columns` [n, d] of parts of `slices` [n] on the scale of the reference, [n, d + 1]."""
        score = columns[:, self.names.index("score")]
        scaled = np.empty((len(columns), len(self.names)))
        known = [name if name in self.of_slice else None for name in slices]
        for name in set(known):
            rows = np.array([one == name for one in known])
            scaled[rows] = self.of_slice[name].scores(columns[rows], score[rows])
        return scaled


def fit(
    columns: np.ndarray, names: Sequence[str], slices: np.ndarray, weights: np.ndarray, groups: np.ndarray
) -> Scale:
    """Fit the scale to a reference: `columns` [m, d] called `names`, of `slices` [m], with `weights` [m].

    `groups` [m] are the kinds of parts whose shares are known: good and defective, if the line's defect rate is known.
    """
    score = columns[:, list(names).index("score")]
    of_slice: dict[str | None, Ranks] = {None: Ranks.of(columns, score, weights)}
    for name in set(slices) - {None}:
        rows = slices == name
        if rows.sum() >= FEWEST:
            of_slice[name] = Ranks.of(columns[rows], score[rows], weights[rows])
    scale = Scale((*names, EXPECTED_DEFECTS), of_slice, np.empty(0), ())
    scaled = scale.standardise(columns, slices)
    share = weights / weights.sum()
    covariance = (scaled * share[:, None]).T @ scaled - np.outer(share @ scaled, share @ scaled)
    covariance += np.diag(
        np.maximum(1 - np.diag(covariance), 0) + RIDGE
    )  # descriptors with few values vary less than 1
    spread, axes = np.linalg.eigh(covariance[:-1, :-1])
    kept = max(1, min(len(spread), len(columns) // PARTS_PER_AXIS))
    whitening = np.concatenate([axes / np.sqrt(spread), np.zeros((1, len(spread)))])[:, -kept:]
    errors = tuple(_error(values, share, groups) for values in (scaled @ whitening, scaled))
    return Scale(scale.names, of_slice, whitening, errors)


def _error(values: np.ndarray, share: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the variance of the weighted mean of `values` [m, d], drawn anew in each group, [d]."""
    error = np.zeros(values.shape[1])
    for group in np.unique(groups):
        rows = groups == group
        centred = values[rows] - np.average(values[rows], axis=0, weights=share[rows])
        error += share[rows] ** 2 @ centred**2 * rows.sum() / max(rows.sum() - 1, 1)
    return np.maximum(error, 1e-6)


def weights_of(reference: Mapping[str, Sequence], rate: float | None) -> np.ndarray:
    """Return the weight [m] of each reference part, so that each slice has the line's defect rate."""
    m = len(reference["score"])
    if "defective" not in reference:  # a reference of an older version
        return np.ones(m)
    slices, defective = (np.array(reference[name], dtype=object) for name in ("slice", "defective"))
    weights = np.ones(m)
    for name in set(slices):
        rows = np.array([slice == name for slice in slices])
        weights[rows] = class_mix.weights(defective[rows].astype(bool), rate)
    return weights
