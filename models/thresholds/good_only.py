"""Scores and verdicts where the validation split holds good parts alone: thresholds from a false-alarm rate. Pure.

Nobody knows how a defective part scores, so the score is no probability. It is small where most good parts are, and 0.5
as far above all of them as the most suspicious of them is above the middle one: there a part fails. Between that and
the false-alarm rate's quantile people decide, and their answers are what a real calibration needs.
"""

from __future__ import annotations

import math

import numpy as np

from models.errors import BadData
from models.thresholds.calibration import Calibrator
from models.vocabulary import OperatingPoint

_TYPICAL = 0.02  # score of the median good part
_FAILS = 0.5  # score from which a part fails


def fit(raw_score: np.ndarray, false_alarm_rate: float) -> tuple[Calibrator, OperatingPoint]:
    """From raw scores of good parts [n]: above the conformal quantile review, far above all of them fail.

    A new good part is reviewed or failed with a probability of at most `false_alarm_rate` if it comes from where these
    came from (split conformal prediction; Vovk et al., 2005). Raises BadData when there are too few parts for the rate.
    """
    raw = np.sort(np.asarray(raw_score, dtype=np.float64))
    n = len(raw)
    at = math.ceil((1 - false_alarm_rate) * (n + 1) - 1e-9)
    if at > n:
        raise BadData(
            f"cost.false_alarm_rate: {false_alarm_rate:g} needs {parts_needed(false_alarm_rate)} good parts in the "
            f"validation split; it has {n}.",
            next_step="Ingest more good parts, or allow more false alarms.",
        )
    highest, middle = float(raw[-1]), float(np.median(raw))
    room = max(highest - middle, 1e-3 * abs(highest), 1e-9)
    fails = highest + room
    slope = math.log((1 - _TYPICAL) / _TYPICAL) / (fails - middle)
    calibrator = Calibrator(slope=slope, intercept=-slope * fails)
    reviewed = float(raw[at - 1]) + room * 1e-3
    pass_below = min(float(calibrator(np.array([reviewed]))[0]), _FAILS)
    return calibrator, OperatingPoint(pass_below=pass_below, fail_from=_FAILS)


def basis(n: int, false_alarm_rate: float) -> str:
    return (
        f"{n} good validation parts: at most {false_alarm_rate:g} of good parts are reviewed or fail. The score is no "
        "probability, since no defective part was there to calibrate it"
    )


def parts_needed(false_alarm_rate: float) -> int:
    """Good parts that are enough for a rate this low."""
    return math.ceil(1 / false_alarm_rate - 1e-9) - 1
