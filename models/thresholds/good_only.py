"""Scores and verdicts for a validation split without defective parts: thresholds from a false-alarm rate. Pure.

The scores of defective parts are unknown, so the score is not a probability. It is 0.02 at the median raw score of the good
parts. It is 0.5, where parts begin to fail, as far above the highest raw score as that is above the median. Parts between
the quantile given by the false-alarm rate and 0.5 are reviewed, which yields the labels that a calibration needs.
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
    """Return calibrator and thresholds from the raw scores of good parts [n].

    A new good part from the same distribution is reviewed or fails with a probability of at most `false_alarm_rate` (split
    conformal prediction; Vovk et al., 2005). Raises BadData if there are too few parts for this rate.
    """
    raw = np.sort(np.asarray(raw_score, dtype=np.float64))
    n = len(raw)
    at = math.ceil((1 - false_alarm_rate) * (n + 1) - 1e-9)
    if at > n:
        raise BadData(
            f"cost.false_alarm_rate: {false_alarm_rate:g} needs {parts_needed(false_alarm_rate)} good parts in the "
            f"validation split; it has {n}.",
            next_step="Ingest more good parts, or raise cost.false_alarm_rate.",
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
    """Return the number of good parts that this false-alarm rate needs."""
    return math.ceil(1 / false_alarm_rate - 1e-9) - 1
