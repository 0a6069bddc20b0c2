"""Choose the two thresholds on the calibrated score, from costs or from a promised escape rate. Pure."""

from __future__ import annotations

import numpy as np

from models.errors import BadData
from models.params import Cost
from models.vocabulary import OperatingPoint


def choose(score: np.ndarray, truth: np.ndarray, cost: Cost) -> OperatingPoint:
    """The cheapest verdict for each calibrated score; `truth` is True where the part is defective.

    Passing a part with probability p costs p · escape, failing it (1 − p) · overkill, reviewing it `review`. Where a
    review never is the cheapest there is no review band. `max_escape_rate` lowers `pass_below` as far as the given
    parts (the validation split) ask for, and never raises it.
    """
    pass_below = min(cost.review / cost.escape, 1.0)
    fail_from = max(1 - cost.review / cost.overkill, 0.0)
    if pass_below >= fail_from:
        pass_below = fail_from = cost.overkill / (cost.overkill + cost.escape)
    if cost.max_escape_rate is not None:
        pass_below = min(pass_below, _highest_that_keeps(cost.max_escape_rate, score, truth))
    return OperatingPoint(pass_below=float(pass_below), fail_from=float(fail_from))


def _highest_that_keeps(max_escape_rate: float, score: np.ndarray, truth: np.ndarray) -> float:
    every = np.sort(np.asarray(score, dtype=np.float64))
    defective = np.sort(np.asarray(score, dtype=np.float64)[np.asarray(truth, dtype=bool)])
    if not len(defective):
        raise BadData(
            "cost.max_escape_rate needs defective parts in the validation split; it has none.",
            next_step="Label some, or set cost.max_escape_rate: null.",
        )
    allowed = int(np.floor(max_escape_rate * len(defective) + 1e-9))
    if allowed >= len(defective):
        return 1.0
    first_caught = defective[allowed]
    below = every[every < first_caught]
    # Half way to the next lower score, so that a rounding error of the score moves no verdict.
    return float((first_caught + (below[-1] if len(below) else 0.0)) / 2)
