"""Counts of verdicts over good and defective parts, and shares with intervals at any defect rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from models.metrics import intervals
from models.metrics.intervals import Interval
from models.vocabulary import OperatingPoint, Verdict


class VerdictCounts:
    """Verdicts on parts of one kind, good or defective."""

    def __init__(self, score: np.ndarray, point: OperatingPoint) -> None:
        passed, failed = score < point.pass_below, score >= point.fail_from
        self.n = len(score)
        self.of = {
            Verdict.PASS: int(passed.sum()),
            Verdict.REVIEW: int((~passed & ~failed).sum()),
            Verdict.FAIL: int(failed.sum()),
        }

    def share(self, verdict: Verdict) -> float:
        return self.of[verdict] / self.n if self.n else math.nan

    def span(self, verdict: Verdict, confidence: float = intervals.CONFIDENCE) -> Interval:
        return intervals.exact(self.of[verdict], self.n, confidence)

    def at_most(self, verdict: Verdict) -> float:
        return intervals.at_most(self.of[verdict], self.n)


def of_both(truth: np.ndarray, score: np.ndarray, point: OperatingPoint) -> tuple[VerdictCounts, VerdictCounts]:
    """Return the counts of (defective, good) parts. `truth` [n] is True for defective parts."""
    return VerdictCounts(score[truth], point), VerdictCounts(score[~truth], point)


Term = tuple[float, VerdictCounts, Verdict]  # a weight, and the share of one kind's parts with that verdict


def total(terms: Sequence[Term]) -> float:
    """Return Σ weight · share."""
    return sum(weight * of.share(verdict) for weight, of, verdict in terms if weight)


def total_span(terms: Sequence[Term]) -> Interval:
    """Return the 95 % interval of `total`."""
    weights = [weight for weight, _, _ in terms]
    shares = [of.share(verdict) for _, of, verdict in terms]
    return intervals.weighted_sum(weights, shares, [of.span(verdict) for _, of, verdict in terms])


def ratio(one: Term, other: Term) -> float:
    """Return the first term as a share of both."""
    first, second = total([one]), total([other])
    return first / (first + second) if first + second > 0 else math.nan


def ratio_span(one: Term, other: Term) -> Interval:
    """Return the 95 % interval of `ratio`, from two wider intervals that hold together (Bonferroni)."""
    both = 1 - (1 - intervals.CONFIDENCE) / 2
    first, second = (
        Interval(*(weight * end for end in of.span(verdict, both))) if weight else Interval(0.0, 0.0)
        for weight, of, verdict in (one, other)
    )
    return intervals.share_of_two(first, second)
