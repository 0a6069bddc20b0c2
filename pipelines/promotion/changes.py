"""What changes for the buyer and the factory from one version to another, slice by slice, in numbers of parts. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from models.evaluation.evaluation import Evaluation
from models.metrics.verdict_metrics import Metrics


def in_words(
    before: Evaluation, after: Evaluation, cost_before: Mapping[str, float], cost_after: Mapping[str, float]
) -> list[str]:
    """Return one sentence per slice that both have: defective parts that pass, good parts that fail, cost per part.

    The costs are by slice, at the line's defect rate if it is known; a slice without costs is told without.
    """
    sentences = []
    for name in sorted(before.slices.keys() & after.slices.keys()):
        old, new = before.slices[name], after.slices[name]
        told = [_escapes(old, new)] if new.n_defective else []
        told += [_overkill(old, new)] if new.n_good else []
        if {name} <= cost_before.keys() & cost_after.keys():
            told.append(f"cost per part {cost_after[name]:.3g} instead of {cost_before[name]:.3g}")
        sentences.append(f"on {name} {', '.join(told)}")
    return sentences


def risen_escapes(before: Evaluation, after: Evaluation, most: float) -> list[str]:
    """Return the slices in which the escape rate rises by more than `most`, with the numbers."""
    return [
        f"escape rate on {name} rises from {old.escape_rate:.3f} to {new.escape_rate:.3f}, by more than {most:g}"
        for name, old, new in ((name, before.slices.get(name), new) for name, new in sorted(after.slices.items()))
        if old is not None and new.escape_rate - old.escape_rate > most + 1e-9  # False for NaN
    ]


def escapes(metrics: Metrics) -> int:
    """Return how many defective parts passed."""
    return 0 if math.isnan(metrics.escape_rate) else round(metrics.escape_rate * metrics.n_defective)


def overkill(metrics: Metrics) -> int:
    """Return how many good parts failed."""
    return 0 if math.isnan(metrics.overkill_rate) else round(metrics.overkill_rate * metrics.n_good)


def _escapes(old: Metrics, new: Metrics) -> str:
    return _counted(escapes(old), escapes(new), f"{new.n_defective} defective parts pass")


def _overkill(old: Metrics, new: Metrics) -> str:
    return _counted(overkill(old), overkill(new), f"{new.n_good} good parts fail")


def _counted(before: int, after: int, what: str) -> str:
    if before == after:
        return f"{after} of {what}, as before"
    return f"{abs(after - before)} {'more' if after > before else 'fewer'} of {what} ({after}, was {before})"
