"""Metrics of verdicts and scores against the ground truth, with intervals. Pure NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from scipy import special

from models.metrics import class_mix, intervals, verdict_counts
from models.metrics.intervals import UNKNOWN, Interval
from models.metrics.verdict_counts import VerdictCounts
from models.vocabulary import OperatingPoint, Verdict

RATES = ("precision", "recall", "f1", "auroc", "average_precision", "escape_rate", "overkill_rate", "review_rate")
_BY_NAME = ("intervals", "at_most")
_BLOCK = 100  # resamples at a time; bounds the memory


@dataclass(frozen=True)
class Metrics:
    """Metrics per part, not per image. Undefined metrics (for example without defective parts) are NaN.

    precision, recall, f1   predicted defective ⇔ score ≥ fail_from
    auroc, average_precision  of the score's ranking
    escape_rate             defective parts that passed / defective parts
    overkill_rate           good parts that failed / good parts
    review_rate             parts sent to review / all parts
    intervals               95 % intervals (low, high) by name: exact for shares of parts, bootstrap over parts otherwise
    at_most                 exact one-sided 95 % upper bounds of escape and overkill rate
    defect_rate             the defect rate for which precision, f1, average_precision and review_rate are computed;
                            None: the data's
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
    at_most: dict[str, float] = field(default_factory=dict)
    defect_rate: float | None = None

    @property
    def n_good(self) -> int:
        return self.n - self.n_defective

    def to_dict(self) -> dict:
        """For JSON: NaN becomes None."""
        numbers = {name: _none_if_nan(value) for name, value in asdict(self).items() if name not in _BY_NAME}
        spans = {name: [_none_if_nan(low), _none_if_nan(high)] for name, (low, high) in self.intervals.items()}
        return numbers | {"intervals": spans, "at_most": {name: _none_if_nan(b) for name, b in self.at_most.items()}}

    @classmethod
    def from_dict(cls, values: dict) -> Metrics:
        """Read metrics from JSON. Those of older versions have neither `at_most` nor `defect_rate`."""
        plain = [f.name for f in fields(cls) if f.name not in (*_BY_NAME, "defect_rate")]
        numbers: dict[str, Any] = {name: _nan_if_none(values[name]) for name in plain}
        spans, bounds = values.get("intervals", {}).items(), values.get("at_most", {}).items()
        return cls(
            **numbers,
            intervals={name: (_nan_if_none(low), _nan_if_none(high)) for name, (low, high) in spans},
            at_most={name: _nan_if_none(bound) for name, bound in bounds},
            defect_rate=values.get("defect_rate"),
        )


def measure(
    truth: np.ndarray,
    score: np.ndarray,
    point: OperatingPoint,
    *,
    groups: Sequence[str] | np.ndarray,
    bootstrap: int,
    seed: int = 0,
    defect_rate: float | None = None,
) -> Metrics:
    """Pool the images of each part by their largest score, then compute the metrics. `groups` holds each image's part.

    `truth` is True for defective images, `score` is calibrated. `bootstrap` is the number of resamples (0: no intervals).
    With `defect_rate`, good and defective parts are weighted to match it.
    """
    truth, score = by_part(np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64), np.asarray(groups))
    rate = defect_rate if 0 < truth.sum() < len(truth) else None
    weights = class_mix.weights(truth, rate)
    ranked = _Ranked(truth, score, point)
    values = {name: float(value[0]) for name, value in ranked.rates(weights[None]).items()}
    spans, bounds = {}, {}
    if bootstrap and len(truth):
        bad, good = verdict_counts.of_both(truth, score, point)
        draws = _resamples(truth, weights, bootstrap, seed, apart=rate is not None)
        spans = _bootstrap(ranked, draws) | _exact(bad, good, rate)
        bounds = {"escape_rate": bad.at_most(Verdict.PASS), "overkill_rate": good.at_most(Verdict.FAIL)}
    return Metrics(
        n=len(truth),
        n_defective=int(truth.sum()),
        **values,
        intervals={name: spans[name] for name in RATES if name in spans},
        at_most=bounds,
        defect_rate=rate,
    )


def by_part(truth: np.ndarray, score: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (truth, score) of each part: defective if any image is, with the score of its most suspicious image."""
    parts, index = np.unique(groups, return_inverse=True)
    pooled_truth = np.zeros(len(parts), dtype=bool)
    pooled_score = np.full(len(parts), -np.inf)
    np.logical_or.at(pooled_truth, index, truth)
    np.maximum.at(pooled_score, index, score)
    return pooled_truth, pooled_score


def recall_at(truth: np.ndarray, score: np.ndarray, false_alarm_rate: float) -> float:
    """Return the recall at a false positive rate of `false_alarm_rate`. Needs good and defective parts."""
    good = np.sort(score[~truth])
    allowed = math.floor(false_alarm_rate * len(good) + 1e-9)
    return float((score[truth] > good[len(good) - 1 - allowed]).mean()) if allowed < len(good) else 1.0


def differences(
    truth: np.ndarray,
    score: np.ndarray,
    point: OperatingPoint,
    *,
    kept: np.ndarray,
    strata: np.ndarray,
    bootstrap: int,
    confidence: float,
    seed: int = 0,
) -> dict[str, tuple[float, float, Interval]]:
    """Return for AUROC and F1 the value over all parts [n], over the parts `kept` [n], and an interval of the difference.

    Kept parts are weighted so that every stratum [n] (an index from 0) keeps its share of the parts; strata without kept
    parts are left out on both sides. Both values are computed on the same resamples of parts, so that what is common to
    both cancels out. The interval is the difference ± its bootstrap standard error, as tail percentiles of few resamples are
    unreliable at high confidence (Efron and Tibshirani, 1993, ch. 13). NaN if good or defective parts are missing.
    """
    ranked, member = _Ranked(truth, score, point), np.eye(int(strata.max(initial=-1)) + 1)[strata]
    comparable = (kept @ member > 0)[strata]
    reach = float(special.ndtri((1 + confidence) / 2))

    def both(weights: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        weights = weights * comparable
        n, n_kept = weights @ member, (weights * kept) @ member
        share = np.divide(n, n_kept, out=np.full_like(n, np.nan), where=n_kept > 0)
        share[n == 0] = 1.0
        rest = weights * kept * share[:, strata]
        rest[np.isnan(share).any(axis=1)] = np.nan  # a resample without kept parts of a stratum says nothing
        return ranked.rates(weights), ranked.rates(rest)

    everything, rest = both(np.ones((1, len(truth))))
    drawn = [both(block) for block in _resamples(truth, np.ones(len(truth)), bootstrap, seed, apart=False)]
    result = {}
    for name in ("auroc", "f1"):
        changes = np.concatenate([before[name] - after[name] for before, after in drawn] or [np.zeros(0)])
        changes = changes[np.isfinite(changes)]
        before, after = float(everything[name][0]), float(rest[name][0])
        known = len(changes) > 1 and math.isfinite(before - after)
        error = reach * float(changes.std(ddof=1)) if known else math.nan
        result[name] = before, after, Interval(before - after - error, before - after + error)
    return result


class _Ranked:
    """Parts sorted once in descending order of score. A resample is a weight per part."""

    def __init__(self, truth: np.ndarray, score: np.ndarray, point: OperatingPoint) -> None:
        order = np.argsort(-score, kind="stable")
        self.truth, score = truth[order].astype(np.float64), score[order]
        self.passed, self.failed = score < point.pass_below, score >= point.fail_from
        self.reviewed = ~self.passed & ~self.failed
        self.last_of_tie = np.append(score[1:] != score[:-1], True) if len(score) else np.zeros(0, dtype=bool)
        self.order = order

    def rates(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return each rate [resamples] for `weights` [resamples, parts]."""
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
        """Return AUROC and average precision from cumulated counts at each distinct score."""
        hits = np.cumsum(defective, axis=1)[:, self.last_of_tie]
        alarms = np.cumsum(good, axis=1)[:, self.last_of_tie]
        new_hits, new_alarms = np.diff(hits, prepend=0.0), np.diff(alarms, prepend=0.0)
        auroc = (new_alarms * (hits - new_hits / 2)).sum(1) / (n_defective * n_good)
        precision = np.divide(hits, hits + alarms, out=np.zeros_like(hits), where=hits + alarms > 0)
        return {"auroc": auroc, "average_precision": (new_hits * precision).sum(1) / n_defective}


def _exact(bad: VerdictCounts, good: VerdictCounts, rate: float | None) -> dict[str, Interval]:
    """Return intervals of shares of parts. With a rate, mixed shares combine the intervals of both kinds."""
    spans = {
        "recall": bad.span(Verdict.FAIL),
        "escape_rate": bad.span(Verdict.PASS),
        "overkill_rate": good.span(Verdict.FAIL),
    }
    if rate is None:
        failed, reviewed = (bad.of[verdict] + good.of[verdict] for verdict in (Verdict.FAIL, Verdict.REVIEW))
        return spans | {
            "precision": intervals.exact(bad.of[Verdict.FAIL], failed),
            "review_rate": intervals.exact(reviewed, bad.n + good.n),
        }
    return spans | {
        "precision": verdict_counts.ratio_span((rate, bad, Verdict.FAIL), (1 - rate, good, Verdict.FAIL)),
        "review_rate": verdict_counts.total_span([(rate, bad, Verdict.REVIEW), (1 - rate, good, Verdict.REVIEW)]),
    }


def _resamples(truth: np.ndarray, weights: np.ndarray, n: int, seed: int, *, apart: bool) -> Iterator[np.ndarray]:
    """Yield blocks of resamples as weights [resamples, parts]. `apart` draws good and defective parts separately."""
    random = np.random.default_rng(seed)
    strata = [np.flatnonzero(truth), np.flatnonzero(~truth)] if apart else [np.arange(len(truth))]
    for start in range(0, n, _BLOCK):
        drawn = np.zeros((min(_BLOCK, n - start), len(truth)))
        for stratum in strata:
            size = len(stratum)
            drawn[:, stratum] = random.multinomial(size, np.full(size, 1 / size), size=len(drawn))
        yield drawn * weights


def _bootstrap(ranked: _Ranked, draws: Iterable[np.ndarray]) -> dict[str, Interval]:
    blocks = [ranked.rates(block) for block in draws]
    spans = {}
    for name in ("f1", "auroc", "average_precision"):
        values = np.concatenate([block[name] for block in blocks])
        values = values[np.isfinite(values)]  # F1 is undefined in resamples without defective parts
        spans[name] = Interval(*(float(end) for end in np.percentile(values, [2.5, 97.5]))) if len(values) else UNKNOWN
    return spans


def _none_if_nan(value: float) -> float | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _nan_if_none(value: float | None) -> float:
    return math.nan if value is None else value
