"""Confidence intervals for shares of parts that are valid for any counts, including zero and all. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy import special

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A two-sided interval. NaN if nothing was counted."""

    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan)


def exact(hits: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the exact interval of a share of `hits` in `n` independent parts (Clopper and Pearson, 1934). Its coverage is
    at least `confidence`.

    Zero of 20 gives [0, 0.168], where a bootstrap of the same parts gives [0, 0].
    """
    if not n:
        return UNKNOWN
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(special.betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(special.betaincinv(hits + 1, n - hits, 1 - tail))
    return Interval(low, high)


def at_most(hits: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper bound of a share, for example 0.139 for 0 of 20. NaN if nothing was counted."""
    if not n:
        return math.nan
    return 1.0 if hits == n else float(special.betaincinv(hits + 1, n - hits, confidence))


def weighted_sum(weights: Sequence[float], values: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """Return the interval of Σ weight · share for weights ≥ 0, from the intervals of the shares.

    Method of variance estimates recovery (Zou and Donner, Statistics in Medicine 27, 2008): distances from the shares to
    their limits add up as squares. For shares that cannot all be large, the interval is wider than necessary.
    """
    terms = [term for term in zip(weights, values, intervals, strict=True) if term[0] > 0]
    total = sum(weight * value for weight, value, _ in terms)
    below = math.sqrt(sum((weight * (value - span.low)) ** 2 for weight, value, span in terms))
    above = math.sqrt(sum((weight * (span.high - value)) ** 2 for weight, value, span in terms))
    return Interval(total - below, total + above)


def share_of_two(first: Interval, second: Interval) -> Interval:
    """Return the interval of first / (first + second). With both at confidence 1 - (1 - c) / 2, its confidence is c
    (Bonferroni)."""

    def share(one: float, other: float) -> float:
        return one / (one + other) if one + other > 0 else math.nan

    return Interval(share(first.low, second.high), share(first.high, second.low))
