"""Whether and since when production differs from the reference. Pure.

The stream of parts is looked at after every few parts. Earlier production says how much windows vary by themselves: parts
come in batches, and light wanders. Production that has drifted is no such example, so this history ends where a drift
began.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.monitoring import batches, scan
from pipelines.monitoring.alarm_limit import FREQUENT, Limits
from pipelines.monitoring.standardised import Scale

HISTORY = 4096  # parts from which the variation of windows is estimated, and between two estimates
FIRST = 256  # parts of the first stretch; each following one is twice as long, up to HISTORY
WORTH = 200.0  # parts of history that the assumption of ordinary tails counts for


@dataclass(frozen=True)
class Window:
    """A window of parts `start` to `end` (exclusive). `evidence`: its statistic relative to the limit; drift from 1.

    error  variance of the difference between its mean and the reference's on the whitened axes, [d]
    over   which descriptors exceed their own limit, [d + 1]
    """

    start: int
    end: int
    evidence: float
    error: np.ndarray
    over: np.ndarray


@dataclass(frozen=True)
class Drift:
    """Production differs from part `since` on; part `last` ends the last window that shows it."""

    since: int
    last: int


@dataclass(frozen=True)
class Finding:
    """`strongest`: of the windows examined, that with the most evidence; None without any.
    `drift`: the latest drift that was found, or that was open before.
    `ongoing`: whether it may still last, because it was seen less than a longest window ago.
    """

    strongest: Window | None
    drift: Drift | None
    ongoing: bool

    @property
    def drifted(self) -> bool:
        return self.strongest is not None and self.strongest.evidence >= 1


def examine(
    rows: np.ndarray,
    scale: Scale,
    limits: Limits,
    windows: tuple[int, ...],
    seen: int = 0,
    ongoing: Drift | None = None,
) -> Finding:
    """Examine standardised parts `rows` [n, d + 1], oldest first, of which the first `seen` were examined before.

    `ongoing` is a drift that had not ended then. What is found does not depend on how often production is examined: every
    look is taken once, and estimates are made at fixed places of the stream.
    """
    strongest: Window | None = None
    drift, longest = ongoing, windows[-1]
    for start, end in _stretches(len(rows)):
        if end <= seen:
            continue
        history_end = max(0, (min(start, drift.since) if drift and start - drift.last < longest else start) - longest)
        variation = _variation(rows[max(0, history_end - HISTORY) : history_end], scale, limits, windows)
        first = max(0, start - longest)
        looks = variation.looks(rows[first:end], scale, limits, windows)
        new = np.flatnonzero((looks.ends + first > max(start, seen)) & (looks.ends >= windows[0]))
        if not len(new):
            continue
        evidence = (looks.strongest / variation.limits)[new].max(axis=1)
        for number in new[evidence >= 1].tolist():
            last = first + int(looks.ends[number])
            if drift is None or last - drift.last >= longest:
                begun = _window(rows, first, looks, number, variation, scale, limits)
                drift = Drift(change_point(rows[:last] @ scale.whitening, begun.start), last)
            drift = Drift(drift.since, last)
        at = int(evidence.argmax())
        if strongest is None or evidence[at] > strongest.evidence:
            strongest = _window(rows, first, looks, int(new[at]), variation, scale, limits)
    return Finding(strongest, drift, drift is not None and len(rows) - drift.last < longest)


def change_point(axes: np.ndarray, start: int) -> int:
    """Return the part at which the mean of `axes` [n, d] changed most clearly, at or before the middle of the last window.

    `start` is the first part of the window that showed the change. The search covers the window and as many parts before it:
    the split with the largest gain of two means over one (least squares; Hinkley, Inference about the Change-Point, 1970).
    """
    n = len(axes)
    first = max(0, start - (n - start))
    part = axes[first:]
    m = len(part)
    sums = np.cumsum(part, axis=0)[:-1]
    left = np.arange(1, m)[:, None]
    difference = sums / left - (sums[-1] + part[-1] - sums) / (m - left)
    gain = (difference**2).sum(axis=1) * (left * (m - left))[:, 0] / m
    return first + 1 + int(gain.argmax())


@dataclass(frozen=True)
class _Variation:
    """How windows vary by themselves: `factors` as in `scan.scan`, and the `limits` [2] that follow."""

    factors: tuple[np.ndarray, np.ndarray]
    limits: np.ndarray

    def looks(self, rows: np.ndarray, scale: Scale, limits: Limits, windows: tuple[int, ...]) -> scan.Looks:
        return scan.scan(rows, scale.whitening, scale.errors, windows, self.factors, limits.scales)


def _variation(history: np.ndarray, scale: Scale, limits: Limits, windows: tuple[int, ...]) -> _Variation:
    """Estimate the variation from earlier parts.

    If even common values of a statistic were larger than independent parts give, the limit rises in proportion.
    """
    factors = (batches.factors(history @ scale.whitening, windows), batches.factors(history, windows))
    plain = np.array([limits.distance, limits.largest])
    if len(history) < 2 * windows[-1]:
        return _Variation(factors, plain)
    looks = scan.scan(history, scale.whitening, scale.errors, windows, factors, limits.scales)
    frequent = np.quantile(looks.strongest[windows[-1] // scan.EVERY :], FREQUENT, axis=0)
    heavier = np.maximum(1.0, frequent / limits.frequent) ** (len(history) / (len(history) + WORTH))
    return _Variation(factors, plain * heavier)


def _window(
    rows: np.ndarray, first: int, looks: scan.Looks, at: int, variation: _Variation, scale: Scale, limits: Limits
) -> Window:
    relative = np.stack([looks.distance[at], looks.largest[at]]) / variation.limits[:, None]
    which = int(relative.max(axis=0).argmax())
    n, end = looks.lengths[which], first + int(looks.ends[at])
    errors = [factor[which] / n + error for factor, error in zip(variation.factors, scale.errors, strict=True)]
    shift = rows[end - n : end].mean(axis=0)
    over = shift**2 / errors[1] / limits.scales[which] ** 2 >= variation.limits[1]
    return Window(end - n, end, float(relative[:, which].max()), errors[0], over)


def _stretches(n: int) -> Iterator[tuple[int, int]]:
    """Cut `n` parts into stretches that depend on nothing but their place."""
    start = 0
    while start < n:
        length = min(max(FIRST, start), HISTORY)
        yield start, min(n, start + length)
        start += length
