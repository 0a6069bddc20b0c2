"""Calibration: Platt scaling or isotonic regression, reliability diagram, expected calibration error (ECE)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.metrics import class_mix

# Keeps the calibrator rising even if the detector ranks at random.
_SMALLEST_SLOPE = 1e-2
_FEWEST_FOR_ISOTONIC = 50  # of each class
_FOLDS = 5
_CLEARLY = 1.645  # standard errors of the mean gain: a one-sided test at 5 %
_RAMP = 1e-3  # weight of the straight line that makes an isotonic curve strictly rising


@dataclass(frozen=True)
class Calibrator:
    """Maps raw scores to probabilities. Strictly rising, so the ranking of parts does not change.

    Without knots, the probability is 1 / (1 + exp(-(slope · raw + intercept))). With knots (raw score, probability), it is
    interpolated linearly between them and constant outside.
    """

    slope: float
    intercept: float
    knots: tuple[tuple[float, float], ...] = ()

    def __call__(self, raw_score: np.ndarray) -> np.ndarray:
        raw = np.asarray(raw_score, dtype=np.float64)
        if self.knots:
            return np.interp(raw, *np.array(self.knots).T)
        return 1 / (1 + np.exp(-np.clip(self.slope * raw + self.intercept, -60, 60)))

    @property
    def method(self) -> str:
        return "isotonic regression" if self.knots else "Platt scaling"


@dataclass(frozen=True)
class ReliabilityBin:
    lower: float
    upper: float
    n: int
    mean_score: float
    share_defective: float
    weight: float


def fit(raw_score: np.ndarray, truth: np.ndarray) -> Calibrator:
    """Fit Platt scaling, or isotonic regression if it predicts held-out parts significantly better.

    `truth` is True for defective parts; each class needs at least one part. The methods are compared by the log loss of
    each part in five-fold cross-validation. Isotonic regression needs many parts (Niculescu-Mizil and Caruana, 2005).
    """
    raw, positive = np.asarray(raw_score, dtype=np.float64), np.asarray(truth, dtype=bool)
    if min(positive.sum(), (~positive).sum()) < _FEWEST_FOR_ISOTONIC:
        return platt(raw, positive)
    order = np.lexsort((np.random.default_rng(0).random(len(raw)), positive))  # stratified folds
    fold = np.empty(len(raw), dtype=int)
    fold[order] = np.arange(len(raw)) % _FOLDS
    gain = np.empty(len(raw))
    for number in range(_FOLDS):
        held = fold == number
        learned = raw[~held], positive[~held]
        gain[held] = _log_loss(platt(*learned)(raw[held]), positive[held])
        gain[held] -= _log_loss(isotonic(*learned)(raw[held]), positive[held])
    clearly = gain.mean() > gain.std() / np.sqrt(len(gain)) * _CLEARLY
    return isotonic(raw, positive) if clearly else platt(raw, positive)


def isotonic(raw_score: np.ndarray, truth: np.ndarray) -> Calibrator:
    """Fit isotonic regression (Zadrozny and Elkan, 2002), made strictly rising so that different scores stay different."""
    from sklearn.isotonic import IsotonicRegression

    raw, positive = np.asarray(raw_score, dtype=np.float64), np.asarray(truth, dtype=bool)
    edge = 1 / (len(raw) + 2)  # keeps probabilities off 0 and 1
    fitted = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip").fit(raw, positive)
    at, probability = fitted.X_thresholds_, fitted.y_thresholds_
    reach = max(float(raw.max() - raw.min()), 1e-6)
    at = np.concatenate([[at[0] - 10 * reach], at, [at[-1] + 10 * reach]])
    probability = np.concatenate([[edge / 2], probability, [1 - edge / 2]])
    ramp = np.linspace(0, 1, len(at))
    rising = (1 - _RAMP) * probability + _RAMP * ramp
    return Calibrator(slope=0.0, intercept=0.0, knots=tuple(zip(at.tolist(), rising.tolist(), strict=True)))


def platt(raw_score: np.ndarray, truth: np.ndarray) -> Calibrator:
    """Fit Platt scaling with smoothed targets by Newton's method (Lin, Lin and Weng, 2007)."""
    raw = np.asarray(raw_score, dtype=np.float64)
    positive = np.asarray(truth, dtype=bool)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        raise ValueError(f"calibration needs both classes, got {n_positive} defective and {n_negative} good")
    target = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    centre, spread = raw.mean(), raw.std() or 1.0
    design = np.column_stack([(raw - centre) / spread, np.ones_like(raw)])
    weights = np.array([0.0, np.log((n_positive + 1) / (n_negative + 1))])
    for _ in range(100):
        probability = 1 / (1 + np.exp(-np.clip(design @ weights, -60, 60)))
        gradient = design.T @ (probability - target)
        curvature = design.T @ (design * (probability * (1 - probability))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights -= np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:
            break
    slope = max(weights[0] / spread, _SMALLEST_SLOPE)
    return Calibrator(slope=float(slope), intercept=float(weights[1] - slope * centre))


def reliability(
    score: np.ndarray, truth: np.ndarray, bins: int = 10, weights: np.ndarray | None = None
) -> list[ReliabilityBin]:
    """Return the non-empty bins of a reliability diagram with equally wide bins. `weights` [n] defaults to equal weights."""
    score, truth = np.asarray(score, dtype=np.float64), np.asarray(truth, dtype=bool)
    weights = np.ones(len(score)) if weights is None else weights
    index = np.minimum((score * bins).astype(int), bins - 1)
    diagram = []
    for number in range(bins):
        inside = index == number
        if inside.any():
            mean, share = (float(np.average(values[inside], weights=weights[inside])) for values in (score, truth))
            total = float(weights[inside].sum())
            diagram.append(ReliabilityBin(number / bins, (number + 1) / bins, int(inside.sum()), mean, share, total))
    return diagram


def expected_error(score: np.ndarray, truth: np.ndarray, bins: int = 10, weights: np.ndarray | None = None) -> float:
    """Return the expected calibration error: the mean gap between score and share of defective parts, weighted by bin."""
    diagram = reliability(score, truth, bins, weights)
    total = sum(entry.weight for entry in diagram)
    apart = sum(entry.weight * abs(entry.mean_score - entry.share_defective) for entry in diagram)
    return apart / total if total else float("nan")


def error_by_chance(
    score: np.ndarray,
    share: float,
    rate: float | None,
    confidence: float,
    bins: int = 10,
    draws: int = 200,
    seed: int = 0,
) -> float:
    """Return the largest calibration error of perfectly calibrated scores [n] that chance explains with `confidence`.

    The truth of each part is drawn from its score (consistency resampling: Bröcker and Smith, Weather and Forecasting 22,
    2007). `share` of the parts are defective, while the scores are calibrated for the defect rate `rate`, if it is given.
    """
    score, random = np.asarray(score, dtype=np.float64), np.random.default_rng(seed)
    probability = score
    if rate is not None and 0 < share < 1 and 0 < rate < 1:
        odds = score / np.maximum(1 - score, 1e-9) * (share / (1 - share)) / (rate / (1 - rate))
        probability = odds / (1 + odds)
    drawn = (random.random(len(score)) < probability for _ in range(draws))
    errors = [expected_error(score, truth, bins, class_mix.weights(truth, rate)) for truth in drawn]
    return float(np.quantile(errors, confidence)) if len(score) else float("nan")


def _log_loss(score: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return -np.log(np.clip(np.where(truth, score, 1 - score), 1e-6, 1))
