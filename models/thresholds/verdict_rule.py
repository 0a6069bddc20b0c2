"""Fit calibration and thresholds on the validation split for the line's defect rate. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.params import Params
from models.thresholds import calibration, defective_only, good_only, operating_point
from models.thresholds.defect_rate import shifted
from models.vocabulary import OperatingPoint


@dataclass(frozen=True)
class VerdictRule:
    """Calibrator and thresholds. `basis` describes in words how they were fitted.

    `defect_rate` is the line's defect rate, or None if the rate in the dataset was used.
    """

    calibrator: calibration.Calibrator
    point: OperatingPoint
    basis: str
    dataset_defect_rate: float
    defect_rate: float | None = None


def fit(
    raw: np.ndarray, truth: np.ndarray, region_threshold: float, params: Params, defect_rate: float | None = None
) -> VerdictRule:
    """Fit on the raw scores [n] of validation parts and whether they are defective [n].

    If all parts belong to one class, uses `good_only` or `defective_only`. With `defect_rate`, probabilities and thresholds
    hold for the line's defect rate instead of the dataset's. Raises BadData if there are too few parts.
    """
    share, cost = float(truth.mean()), params.cost
    if truth.all():
        point = defective_only.operating_point(region_threshold)
        return VerdictRule(defective_only.CALIBRATOR, point, defective_only.BASIS, share)
    if not truth.any():
        basis = good_only.basis(len(raw), cost.false_alarm_rate)
        return VerdictRule(*good_only.fit(raw, cost.false_alarm_rate), basis, share)
    calibrator = calibration.fit(raw, truth)
    method = f"{calibrator.method} on {len(raw)} validation parts"
    if defect_rate is not None:
        calibrator = shifted(calibrator, share, defect_rate)
        method += f", shifted from {share:.2g} defective ones among them to {defect_rate:.2g} on the line"
    basis = (
        f"{method}; costs of {cost.escape:g} for an escape, {cost.overkill:g} for overkill, {cost.review:g} for a review"
        f"{_escape_bound(params)}"
    )
    return VerdictRule(calibrator, operating_point.choose(calibrator(raw), truth, cost), basis, share, defect_rate)


def assumed_defect_rate(rule: VerdictRule, why: str) -> str:
    """Describe the defect rate that score and thresholds assume. `why` explains the source of the line's rate."""
    share = rule.dataset_defect_rate
    if share in (0, 1):
        return f"the validation split holds {'defective' if share else 'good'} parts alone, so no defect rate counts"
    if rule.defect_rate is not None:
        return why
    return f"{why}, {share:.2g} of the validation parts; a line with fewer needs the number (docs/choosing-costs.md)"


def _escape_bound(params: Params) -> str:
    """Describe the bound on the escape rate. It is optimistic if early stopping used the same parts."""
    most = params.cost.max_escape_rate
    if most is None:
        return ""
    caveat = (
        "; early stopping (train.patience) chose the epoch on the same parts, so the bound is optimistic: the test parts "
        "say what it is worth"
    )
    return f", and an escape rate of at most {most:g}" + ("" if params.train.patience is None else caveat)
