"""Escape and overkill rate against their ceilings: exceeded, shown to be below, or not shown by so few parts. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from models.metrics import intervals
from models.metrics.verdict_metrics import Metrics
from models.params import Promote

MOST = 10_000_000  # parts that anybody would count


@dataclass(frozen=True)
class _Rate:
    name: str
    kind: str
    value: float
    n: int
    ceiling: float

    @property
    def hits(self) -> int:
        return round(self.value * self.n)


def exceeded(measured: Metrics, rules: Promote) -> list[str]:
    """Return which ceilings the rates on the test parts exceed, and what is shown with `promote.confidence`."""
    return [
        f"{rate.name} {rate.value:.3f} > {rate.ceiling:.3f}"
        + (
            f" (with {rules.confidence:.0%} confidence at least {low:.3f})"
            if (low := _at_least(rate, rules.confidence)) > rate.ceiling
            else f" ({rate.hits} of {rate.n} {rate.kind} parts; chance may explain it)"
        )
        for rate in _rates(measured, rules)
        if not rate.value <= rate.ceiling
    ]


def proofs(measured: Metrics, rules: Promote) -> tuple[list[str], list[str]]:
    """Return a sentence for each rate that meets its ceiling: those whose exact upper bound meets it too (Clopper and
    Pearson), and those whose bound does not, with the number of parts that would show it if the rate stays."""
    shown, unknown = [], []
    for rate in _rates(measured, rules):
        if not rate.value <= rate.ceiling or rate.ceiling >= 1:
            continue
        bound = intervals.at_most(rate.hits, rate.n, rules.confidence)
        known = f"{rate.name} at most {bound:.3f} with {rules.confidence:.0%} confidence"
        if bound <= rate.ceiling:
            shown.append(f"{known}, below {rate.ceiling:g}")
            continue
        needed = parts_to_show(rate.value, rate.ceiling, rules.confidence)
        more = (
            f"{needed - rate.n:,} more {rate.kind} test parts"
            if needed
            else f"a lower rate, or more {rate.kind} test parts"
        )
        unknown.append(f"not enough evidence for an {rate.name} below {rate.ceiling:g}: {more} ({known})")
    return shown, unknown


def parts_to_show(value: float, ceiling: float, confidence: float) -> int | None:
    """Return the smallest number of parts whose exact upper bound is at most `ceiling` when the share of hits is `value`,
    within 1 %. None if more than ten million would be needed."""
    high = 1
    while intervals.at_most(round(value * high), high, confidence) > ceiling:
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        enough = intervals.at_most(round(value * middle), middle, confidence) <= ceiling
        low, high = (low, middle) if enough else (middle, high)
    return high


def _at_least(rate: _Rate, confidence: float) -> float:
    return 1 - intervals.at_most(rate.n - rate.hits, rate.n, confidence)


def _rates(measured: Metrics, rules: Promote) -> Iterator[_Rate]:
    if measured.n_defective:
        yield _Rate("escape rate", "defective", measured.escape_rate, measured.n_defective, rules.max_escape_rate)
    if measured.n_good:
        yield _Rate("overkill rate", "good", measured.overkill_rate, measured.n_good, rules.max_overkill_rate)
