"""From the dataset's share of defective parts to the line's. Pure.

A dataset holds far more defects than production does. The network's ranking does not mind; probabilities, everything that
weighs good against defective parts, and what production usually looks like do.
"""

from __future__ import annotations

import numpy as np

from models.thresholds.calibration import Calibrator

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
