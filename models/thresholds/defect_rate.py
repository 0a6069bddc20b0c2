"""Correct probabilities for the line's defect rate (prior shift). Pure.

A dataset usually contains a larger share of defective parts than production. This does not affect the ranking of parts. It
does affect probabilities, metrics that weigh good against defective parts, and the reference distributions for data drift.
"""

from __future__ import annotations

import numpy as np

from models.thresholds.calibration import Calibrator

_STEP = 0.1  # of log odds, between two knots of a shifted isotonic curve


def odds_factor(of_data: float, of_line: float) -> float:
    """Return the factor between the odds of a defect on the line and in the dataset. Both rates are in (0, 1)."""
    return of_line / (1 - of_line) * (1 - of_data) / of_data


def shifted(calibrator: Calibrator, of_data: float, of_line: float) -> Calibrator:
    """Return a calibrator for the defect rate `of_line`, from one fitted at the defect rate `of_data`; both in (0, 1).

    Applies Bayes' rule, which assumes that the appearance within each class is unchanged (Saerens, Latinne and
    Decaestecker, 2002; Elkan, 2001). All log odds shift by the same amount, so the ranking of parts does not change.
    """
    factor = odds_factor(of_data, of_line)
    if not calibrator.knots:
        return Calibrator(calibrator.slope, float(calibrator.intercept + np.log(factor)))
    # A straight line between two knots becomes a curve after the shift; extra knots approximate it.
    raw, probability = np.array(calibrator.knots).T
    log_odds = np.log(probability / (1 - probability))
    steps = np.ceil(np.diff(log_odds) / _STEP).astype(int)
    between = [np.linspace(a, b, n, endpoint=False)[1:] for a, b, n in zip(log_odds, log_odds[1:], steps, strict=False)]
    finer = np.unique(np.concatenate([probability, *(1 / (1 + np.exp(-odds)) for odds in between)]))
    raw, probability = np.interp(finer, probability, raw), finer
    moved = probability * factor / (probability * factor + 1 - probability)
    return Calibrator(calibrator.slope, calibrator.intercept, tuple(zip(raw.tolist(), moved.tolist(), strict=True)))
