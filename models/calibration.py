"""From raw score to probability: Platt scaling, its reliability diagram and expected calibration error. NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A detector that ranks at random must not turn the order round or become a constant.
_SMALLEST_SLOPE = 1e-2


@dataclass(frozen=True)
class Calibrator:
    """score = 1 / (1 + exp(-(slope · raw + intercept))); the slope is positive, so the order of parts is kept."""

    slope: float
    intercept: float

    def __call__(self, raw_score: np.ndarray) -> np.ndarray:
        logit = self.slope * np.asarray(raw_score, dtype=np.float64) + self.intercept
        return 1 / (1 + np.exp(-np.clip(logit, -60, 60)))


@dataclass(frozen=True)
class ReliabilityBin:
    lower: float
    upper: float
    n: int
    mean_score: float
    share_defective: float


def fit(raw_score: np.ndarray, truth: np.ndarray) -> Calibrator:
    """Platt scaling with his smoothed targets, by Newton's method (Lin, Lin and Weng, 2007).

    `truth` is True where defective. Needs at least one part of each class.
    """
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


def reliability(score: np.ndarray, truth: np.ndarray, bins: int = 10) -> list[ReliabilityBin]:
    """The reliability diagram: equally wide bins of the score, empty ones left out."""
    score, truth = np.asarray(score, dtype=np.float64), np.asarray(truth, dtype=bool)
    index = np.minimum((score * bins).astype(int), bins - 1)
    diagram = []
    for number in range(bins):
        inside = index == number
        if inside.any():
            mean, share = float(score[inside].mean()), float(truth[inside].mean())
            diagram.append(ReliabilityBin(number / bins, (number + 1) / bins, int(inside.sum()), mean, share))
    return diagram


def expected_error(score: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: how far score and share of defective parts lie apart, weighted by the bins' sizes."""
    diagram = reliability(score, truth, bins)
    total = sum(entry.n for entry in diagram)
    return (
        sum(entry.n * abs(entry.mean_score - entry.share_defective) for entry in diagram) / total
        if total
        else float("nan")
    )
