"""Intervals for shares of parts that hold at any number of parts, zero and all included. Pure NumPy and SciPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy import special

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Two-sided. NaN where nothing was counted."""

    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan)


def exact(hits: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Of a share of `hits` in `n` independent parts (Clopper and Pearson, 1934). It covers the truth at least that often.

    Zero of 20 gives [0, 0.168], where a bootstrap of the same parts gives [0, 0].
    """
    if not n:
        return UNKNOWN
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(special.betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(special.betaincinv(hits + 1, n - hits, 1 - tail))
    return Interval(low, high)


def at_most(hits: int, n: int, confidence: float = CONFIDENCE) -> float:
    """The one-sided upper bound of a share: 0.139 where none of 20 did. NaN where nothing was counted."""
    if not n:
        return math.nan
    return 1.0 if hits == n else float(special.betaincinv(hits + 1, n - hits, confidence))


def weighted_sum(weights: Sequence[float], values: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """Of Σ weight · share, weights at least 0, from each share's own interval.

    The method of variance estimates recovery (Zou and Donner, Statistics in Medicine 27, 2008): distances from the shares
    to their limits add up as squares. Shares that can't be large together make it wider than need be, never narrower.
    """
    terms = [term for term in zip(weights, values, intervals, strict=True) if term[0] > 0]
    total = sum(weight * value for weight, value, _ in terms)
    below = math.sqrt(sum((weight * (value - span.low)) ** 2 for weight, value, span in terms))
    above = math.sqrt(sum((weight * (span.high - value)) ** 2 for weight, value, span in terms))
    return Interval(total - below, total + above)


def share_of_two(first: Interval, second: Interval) -> Interval:
    """Of first / (first + second), which rises with the first and falls with the second. With both at confidence
    1 - (1 - c) / 2 it holds with c (Bonferroni)."""

    def share(one: float, other: float) -> float:
        return one / (one + other) if one + other > 0 else math.nan

    return Interval(share(first.low, second.high), share(first.high, second.low))
