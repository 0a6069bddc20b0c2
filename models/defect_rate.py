"""From the dataset's share of defective parts to the line's. Pure.

A dataset holds far more defects than production does. The network's ranking does not mind; probabilities, everything that
weighs good against defective parts, and what production usually looks like do.
"""

from __future__ import annotations

import numpy as np

from models.calibration import Calibrator

_STEP = 0.1  # of log odds, between two knots of a shifted isotonic curve


def odds_factor(of_data: float, of_line: float) -> float:
    """By how much the odds of being defective change from parts of the dataset to parts of the line."""
    return of_line / (1 - of_line) * (1 - of_data) / of_data


def shifted(calibrator: Calibrator, of_data: float, of_line: float) -> Calibrator:
    """The calibrator for parts of which the share `of_line` is defective, fitted where it was `of_data`; both in (0, 1).

    Bayes' rule, as long as good and defective parts each look as they did (Saerens, Latinne and Decaestecker, 2002;
    Elkan, 2001): every probability's log odds move by the same amount, so the order of parts stays.
    """
    factor = odds_factor(of_data, of_line)
    if not calibrator.knots:
        return Calibrator(calibrator.slope, float(calibrator.intercept + np.log(factor)))
    # A straight line between two probabilities is no straight line between the shifted ones: knots in between follow it.
    raw, probability = np.array(calibrator.knots).T
    log_odds = np.log(probability / (1 - probability))
    steps = np.ceil(np.diff(log_odds) / _STEP).astype(int)
    between = [np.linspace(a, b, n, endpoint=False)[1:] for a, b, n in zip(log_odds, log_odds[1:], steps, strict=False)]
    finer = np.unique(np.concatenate([probability, *(1 / (1 + np.exp(-odds)) for odds in between)]))
    raw, probability = np.interp(finer, probability, raw), finer
    moved = probability * factor / (probability * factor + 1 - probability)
    return Calibrator(calibrator.slope, calibrator.intercept, tuple(zip(raw.tolist(), moved.tolist(), strict=True)))


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
