"""How well verdicts and scores meet the ground truth, with intervals. Pure NumPy; reads no files and runs no model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from models.vocabulary import OperatingPoint

RATES = ("precision", "recall", "f1", "auroc", "average_precision", "escape_rate", "overkill_rate", "review_rate")
_BLOCK = 100  # resamples at once: bounds the memory at any number of parts


@dataclass(frozen=True)
class Metrics:
    """Per part, not per image. A number that is undefined (no defective part, say) is NaN.

    precision, recall, f1   predicted defective ⇔ score ≥ fail_from
    auroc, average_precision  of the score's ranking
    escape_rate             defective parts that passed / defective parts
    overkill_rate           good parts that failed / good parts
    review_rate             parts sent to review / all parts
    intervals               95 % percentile bootstrap over parts, (low, high) by name
    """

    n: int
    n_defective: int
    precision: float
    recall: float
    f1: float
    auroc: float
    average_precision: float
    escape_rate: float
    overkill_rate: float
    review_rate: float
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def to_dict(self) -> dict:
        """For JSON: NaN becomes None."""
        numbers = {name: _none_if_nan(value) for name, value in asdict(self).items() if name != "intervals"}
        spans = {name: [_none_if_nan(low), _none_if_nan(high)] for name, (low, high) in self.intervals.items()}
        return numbers | {"intervals": spans}

    @classmethod
    def from_dict(cls, values: dict) -> Metrics:
        numbers: dict[str, Any] = {f.name: _nan_if_none(values[f.name]) for f in fields(cls) if f.name != "intervals"}
        spans = values.get("intervals", {}).items()
        return cls(**numbers, intervals={name: (_nan_if_none(low), _nan_if_none(high)) for name, (low, high) in spans})


def measure(
    truth: np.ndarray,
    score: np.ndarray,
    point: OperatingPoint,
    *,
    groups: Sequence[str] | np.ndarray,
    bootstrap: int,
    seed: int = 0,
) -> Metrics:
    """Pool the images of one part by their largest score, then count; `groups` holds each image's part.

    `truth` is True where defective, `score` calibrated. `bootstrap` is the number of resamples (0: no intervals).
    """
    truth, score = by_part(np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64), np.asarray(groups))
    ranked = _Ranked(truth, score, point)
    values = {name: float(value[0]) for name, value in ranked.rates(np.ones((1, len(truth)))).items()}
    intervals = _intervals(ranked, len(truth), bootstrap, seed) if bootstrap and len(truth) else {}
    return Metrics(n=len(truth), n_defective=int(truth.sum()), **values, intervals=intervals)


def by_part(truth: np.ndarray, score: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One (truth, score) for each part: defective when any of its images is, scored by its most suspicious image."""
    parts, index = np.unique(groups, return_inverse=True)
    pooled_truth = np.zeros(len(parts), dtype=bool)
    pooled_score = np.full(len(parts), -np.inf)
    np.logical_or.at(pooled_truth, index, truth)
    np.maximum.at(pooled_score, index, score)
    return pooled_truth, pooled_score


def recall_at(truth: np.ndarray, score: np.ndarray, false_alarm_rate: float) -> float:
    """Share of the defective [n] that score above all but `false_alarm_rate` of the good ones; both must be there."""
    good = np.sort(score[~truth])
    allowed = math.floor(false_alarm_rate * len(good) + 1e-9)
    return float((score[truth] > good[len(good) - 1 - allowed]).mean()) if allowed < len(good) else 1.0


class _Ranked:
    """Parts in descending order of score, sorted once; a resample is only a weight for each part."""

    def __init__(self, truth: np.ndarray, score: np.ndarray, point: OperatingPoint) -> None:
        order = np.argsort(-score, kind="stable")
        self.truth, score = truth[order].astype(np.float64), score[order]
        self.passed, self.failed = score < point.pass_below, score >= point.fail_from
        self.reviewed = ~self.passed & ~self.failed
        self.last_of_tie = np.append(score[1:] != score[:-1], True) if len(score) else np.zeros(0, dtype=bool)
        self.order = order

    def rates(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """`weights` [resamples, parts]; each rate comes back as [resamples]."""
        weights = weights[:, self.order]
        defective, good = weights * self.truth, weights * (1 - self.truth)
        n_defective, n_good = defective.sum(1), good.sum(1)
        caught, overkilled = defective[:, self.failed].sum(1), good[:, self.failed].sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "precision": caught / (caught + overkilled),
                "recall": caught / n_defective,
                "f1": np.where(n_defective > 0, 2 * caught / (caught + overkilled + n_defective), np.nan),
                **self._ranking(defective, good, n_defective, n_good),
                "escape_rate": defective[:, self.passed].sum(1) / n_defective,
                "overkill_rate": overkilled / n_good,
                "review_rate": weights[:, self.reviewed].sum(1) / weights.sum(1),
            }

    def _ranking(
        self, defective: np.ndarray, good: np.ndarray, n_defective: np.ndarray, n_good: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Both from the cumulated counts at each distinct score, ties taken together."""
        hits = np.cumsum(defective, axis=1)[:, self.last_of_tie]
        alarms = np.cumsum(good, axis=1)[:, self.last_of_tie]
        new_hits, new_alarms = np.diff(hits, prepend=0.0), np.diff(alarms, prepend=0.0)
        auroc = (new_alarms * (hits - new_hits / 2)).sum(1) / (n_defective * n_good)
        precision = np.divide(hits, hits + alarms, out=np.zeros_like(hits), where=hits + alarms > 0)
        return {"auroc": auroc, "average_precision": (new_hits * precision).sum(1) / n_defective}


def _intervals(ranked: _Ranked, n: int, bootstrap: int, seed: int) -> dict[str, tuple[float, float]]:
    random = np.random.default_rng(seed)
    blocks = []
    for start in range(0, bootstrap, _BLOCK):
        weights = random.multinomial(n, np.full(n, 1 / n), size=min(_BLOCK, bootstrap - start)).astype(np.float64)
        blocks.append(ranked.rates(weights))
    spans = {}
    for name in RATES:
        draws = np.concatenate([block[name] for block in blocks])
        draws = draws[np.isfinite(draws)]  # a resample without a defective part says nothing about recall
        low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (math.nan, math.nan)
        spans[name] = (float(low), float(high))
    return spans


def _none_if_nan(value: float) -> float | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _nan_if_none(value: float | None) -> float:
    return math.nan if value is None else value
