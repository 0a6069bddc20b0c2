"""Choose the two thresholds on the calibrated score from costs and, if set, a maximum escape rate. Pure."""

from __future__ import annotations

import math

import numpy as np

from models.errors import BadData
from models.metrics import intervals
from models.params import Cost
from models.vocabulary import OperatingPoint, Verdict


def choose(score: np.ndarray, truth: np.ndarray, cost: Cost) -> OperatingPoint:
    """Return the thresholds that minimise expected cost. `score` is calibrated, `truth` True for defective parts; both [n].

    For a part with defect probability p, passing costs p · escape, failing (1 − p) · overkill, and a review `review`. If a
    review is never cheapest, there is no review band. `max_escape_rate` can only lower `pass_below`: until the given parts
    (the validation split) prove the rate with `confidence`. Raises BadData if they are too few to prove it.
    """
    pass_below = min(cost.review / cost.escape, 1.0)
    fail_from = max(1 - cost.review / cost.overkill, 0.0)
    if pass_below >= fail_from:
        pass_below = fail_from = cost.overkill / (cost.overkill + cost.escape)
    if cost.max_escape_rate is not None:
        pass_below = min(pass_below, _highest_that_keeps(cost.max_escape_rate, cost.confidence, score, truth))
    return OperatingPoint(pass_below=float(pass_below), fail_from=float(fail_from))


def reason(score: float, point: OperatingPoint) -> str:
    """Explain the verdict in one line, with enough digits to distinguish score and thresholds."""
    for digits in range(2, 17):
        shown, below, fails = (f"{value:.{digits}f}" for value in (score, point.pass_below, point.fail_from))
        alike = (shown == below) != (score == point.pass_below) or (shown == fails) != (score == point.fail_from)
        if not alike and (below != fails or point.pass_below == point.fail_from):
            break
    verdict = point.verdict(score)
    if verdict is Verdict.PASS:
        return f"score {shown} lies below {below}, where parts pass"
    if verdict is Verdict.FAIL:
        return f"score {shown} is at least {fails}, from where on parts fail"
    return f"score {shown} lies between pass below {below} and fail from {fails}"


def escapes_allowed(n_defective: int, max_escape_rate: float, confidence: float) -> int | None:
    """Return the largest number of escapes among `n_defective` parts that still proves the rate with this confidence.

    Returns None if even zero escapes do not prove it. Uses the one-sided bound of Clopper and Pearson (1934).
    """
    upper = np.array([intervals.at_most(escapes, n_defective, confidence) for escapes in range(n_defective)])
    keeps = np.flatnonzero(upper <= max_escape_rate)
    return int(keeps[-1]) if len(keeps) else None


def parts_needed(max_escape_rate: float, confidence: float) -> int:
    """Return the number of defective parts that prove this rate if none escapes; 0 if no number does."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - max_escape_rate)) if 0 < max_escape_rate < 1 else 0


def _highest_that_keeps(max_escape_rate: float, confidence: float, score: np.ndarray, truth: np.ndarray) -> float:
    every = np.sort(np.asarray(score, dtype=np.float64))
    defective = np.sort(np.asarray(score, dtype=np.float64)[np.asarray(truth, dtype=bool)])
    if max_escape_rate >= 1:
        return 1.0
    allowed = escapes_allowed(len(defective), max_escape_rate, confidence)
    if allowed is None:
        needed = parts_needed(max_escape_rate, confidence)
        asks = f"needs {needed}" if needed else "can be proved by no number of"
        raise BadData(
            f"cost.max_escape_rate: {max_escape_rate:g} with cost.confidence: {confidence:g} {asks} defective parts in the "
            f"validation split; it has {len(defective)}.",
            next_step="Label more, ask for less, or set cost.max_escape_rate: null and let the costs decide.",
        )
    first_caught = defective[allowed]
    below = every[every < first_caught]
    # Half way to the next lower score, so that rounding errors do not change verdicts.
    return float((first_caught + (below[-1] if len(below) else 0.0)) / 2)
