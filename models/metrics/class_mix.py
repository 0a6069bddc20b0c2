"""Weights and subsets of parts that match the line's defect rate. Pure."""

from __future__ import annotations

import numpy as np


def weights(truth: np.ndarray, rate: float | None) -> np.ndarray:
    """Return a weight per part [n], 1 on average, so that defective parts have the share `rate`.

    All weights are 1 without a rate, or if there are no good or no defective parts.
    """
    defective = np.asarray(truth, dtype=bool)
    share = defective.mean() if len(defective) else 0.0
    if rate is None or not 0 < share < 1:
        return np.ones(len(defective))
    return np.where(defective, rate / share, (1 - rate) / (1 - share))


def chosen_for(truth: np.ndarray, order: np.ndarray, rate: float | None) -> np.ndarray:
    """Return the indices of the parts to keep [m], ascending, so that the share `rate` of them is defective.

    All parts of one kind are kept, and fewer of the other, at least one. These are spread evenly over the ranks of `order`,
    so that they represent the rest. The choice is deterministic.
    """
    defective = np.asarray(truth, dtype=bool)
    n_defective, n_good = int(defective.sum()), int((~defective).sum())
    if rate is None or not n_defective or not n_good:
        return np.arange(len(defective))
    if n_defective * (1 - rate) > n_good * rate:
        fewer, n = defective, max(1, round(n_good * rate / (1 - rate)))
    else:
        fewer, n = ~defective, max(1, round(n_defective * (1 - rate) / rate))
    return np.sort(np.concatenate([np.flatnonzero(~fewer), spread(np.flatnonzero(fewer), np.asarray(order), n)]))


def spread(places: np.ndarray, order: np.ndarray, n: int) -> np.ndarray:
    """Return `n` of `places` [m], spread evenly over the ranks of `order`, or all of them if there are not more."""
    if n >= len(places):
        return places
    ranked = places[np.argsort(order[places], kind="stable")]
    return ranked[((np.arange(n) + 0.5) * len(places) / n).astype(int)]
