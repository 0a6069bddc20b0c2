"""Costs of verdicts per part and on average, at the dataset's or the line's defect rate. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from models.metrics import verdict_counts
from models.metrics.intervals import Interval
from models.metrics.verdict_counts import Term
from models.params import Cost
from models.vocabulary import OperatingPoint, Verdict

_RESAMPLES = 2000


@dataclass(frozen=True)
class PartCosts:
    """The cost of the verdict on each part [n], and which parts are defective [n]."""

    cost: np.ndarray
    defective: np.ndarray


@dataclass(frozen=True)
class Expected:
    """Expected outcomes per inspected part at the defect rate `defect_rate`.

    pass_rate, review_rate, fail_rate  shares of all parts
    delivered_defective                defective parts / parts that passed, as the customer receives them
    good_among_failed                  good parts / parts that failed
    cost_per_part                      average cost, with the costs of params.yaml
    cost_if_all_pass                   average cost without inspection
    intervals                          95 % intervals (low, high) by name, valid for few defective or few good parts
    """

    defect_rate: float
    pass_rate: float
    review_rate: float
    fail_rate: float
    delivered_defective: float
    good_among_failed: float
    cost_per_part: float
    cost_if_all_pass: float
    intervals: dict[str, Interval]

    def to_dict(self) -> dict:
        """For JSON: NaN becomes None."""
        numbers = {name: _none_if_nan(value) for name, value in asdict(self).items() if name != "intervals"}
        return numbers | {"intervals": {name: [*map(_none_if_nan, span)] for name, span in self.intervals.items()}}


def of_parts(truth: np.ndarray, score: np.ndarray, point: OperatingPoint, cost: Cost) -> PartCosts:
    """Return the costs by part [n]. `truth` is True for defective parts."""
    price = {Verdict.PASS: (0.0, cost.escape), Verdict.REVIEW: (cost.review,) * 2, Verdict.FAIL: (cost.overkill, 0.0)}
    costs = [price[point.verdict(value)][int(bad)] for value, bad in zip(score, truth, strict=True)]
    return PartCosts(np.array(costs, dtype=np.float64), np.asarray(truth, dtype=bool))


def average(costs: PartCosts, defect_rate: float | None) -> float:
    """Return the average cost per part at `defect_rate`, or at the dataset's rate if it is None."""
    if not _mixed(costs, defect_rate):
        return float(costs.cost.mean()) if len(costs.cost) else math.nan
    assert defect_rate is not None
    bad, good = costs.cost[costs.defective].mean(), costs.cost[~costs.defective].mean()
    return float(defect_rate * bad + (1 - defect_rate) * good)


def probability_cheaper(
    challenger: PartCosts, champion: PartCosts, defect_rate: float | None = None, seed: int = 0
) -> float:
    """Return the share of paired bootstrap resamples in which the challenger's verdicts cost less.

    Both hold the same parts in the same order; ties count half. Pairing removes the variance of parts that are difficult
    for both. With the line's defect rate, defective and good parts are resampled separately and weighted by the rate.
    """
    difference, random = challenger.cost - champion.cost, np.random.default_rng(seed)
    if _mixed(challenger, defect_rate):
        assert defect_rate is not None
        draws = defect_rate * _means(difference[challenger.defective], random)
        draws += (1 - defect_rate) * _means(difference[~challenger.defective], random)
    else:
        draws = _means(difference, random)
    draws = np.round(draws, 12)  # so that equal costs stay equal in spite of rounding errors
    return float((draws < 0).mean() + 0.5 * (draws == 0).mean())


def expected(truth: np.ndarray, score: np.ndarray, point: OperatingPoint, cost: Cost, rate: float) -> Expected:
    """Return the expected outcomes from scores and truth of test parts [n]. `rate` is in [0, 1]. NaN if good or defective
    parts are missing."""
    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    of_bad, of_good = verdict_counts.of_both(truth, score, point)
    bad, good = rate, 1 - rate
    sums: dict[str, list[Term]] = {
        f"{verdict}_rate": [(bad, of_bad, verdict), (good, of_good, verdict)] for verdict in Verdict
    }
    sums["cost_per_part"] = [
        (bad * cost.escape, of_bad, Verdict.PASS),
        (bad * cost.review, of_bad, Verdict.REVIEW),
        (good * cost.review, of_good, Verdict.REVIEW),
        (good * cost.overkill, of_good, Verdict.FAIL),
    ]
    ratios: dict[str, tuple[Term, Term]] = {
        "delivered_defective": ((bad, of_bad, Verdict.PASS), (good, of_good, Verdict.PASS)),
        "good_among_failed": ((good, of_good, Verdict.FAIL), (bad, of_bad, Verdict.FAIL)),
    }
    values = {name: verdict_counts.total(terms) for name, terms in sums.items()}
    values |= {name: verdict_counts.ratio(*pair) for name, pair in ratios.items()}
    return Expected(
        defect_rate=rate,
        cost_if_all_pass=rate * cost.escape,
        intervals={name: verdict_counts.total_span(terms) for name, terms in sums.items()}
        | {name: verdict_counts.ratio_span(*pair) for name, pair in ratios.items()},
        **values,
    )


def _mixed(costs: PartCosts, defect_rate: float | None) -> bool:
    return defect_rate is not None and bool(0 < costs.defective.sum() < len(costs.defective))


def _means(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the means of bootstrap resamples. Costs have few distinct values, so only their counts are drawn."""
    distinct, counts = np.unique(values, return_counts=True)
    return random.multinomial(len(values), counts / len(values), _RESAMPLES) @ distinct / len(values)


def _none_if_nan(value: float) -> float | None:
    return value if math.isfinite(value) else None
