"""Measure parts of the dataset as if good and defective ones were as common as on the line. Pure."""

from __future__ import annotations

import numpy as np


def weights(truth: np.ndarray, rate: float | None) -> np.ndarray:
    """One weight for each part [n], 1 on average, with which its defective ones count as the share `rate` of all.

    All 1 without a rate, and where one of the two kinds is absent: no weight makes up for it.
    """
    defective = np.asarray(truth, dtype=bool)
    share = defective.mean() if len(defective) else 0.0
    if rate is None or not 0 < share < 1:
        return np.ones(len(defective))
    return np.where(defective, rate / share, (1 - rate) / (1 - share))


def chosen_for(truth: np.ndarray, order: np.ndarray, rate: float | None) -> np.ndarray:
    """Which parts to keep [m], ascending, so that the share `rate` of them is defective.

    All parts of one kind stay and fewer of the other, at least one, spread evenly over `order` (any number by which
    parts can be ranked) so that they stand for the rest. The same parts give the same choice.
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
    """`n` of `places` [m], evenly over the rank of `order` at them; all of them where there are no more."""
    if n >= len(places):
        return places
    ranked = places[np.argsort(order[places], kind="stable")]
    return ranked[((np.arange(n) + 0.5) * len(places) / n).astype(int)]
