"""From raw score to probability: Platt scaling or isotonic regression, reliability diagram, expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A detector that ranks at random must not turn the order round or become a constant.
_SMALLEST_SLOPE = 1e-2
_FEWEST_FOR_ISOTONIC = 50  # of each class
_FOLDS = 5
_CLEARLY = 1.645  # standard errors
_RAMP = 1e-3  # share of a straight line in an isotonic curve


@dataclass(frozen=True)
class Calibrator:
    """From raw score to probability, strictly rising, so that the order of parts is kept.

    Without knots 1 / (1 + exp(-(slope · raw + intercept))); with knots (raw score, probability) straight lines between
    them, and the outermost probabilities beyond them.
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
    """Platt scaling, or isotonic regression where that foretells held-out parts better by more than chance explains.

    `truth` is True where defective. Needs at least one part of each class. The two are compared by the log loss of
    five-fold cross-validation, part by part; isotonic regression needs many parts (Niculescu-Mizil and Caruana, 2005).
    """
    raw, positive = np.asarray(raw_score, dtype=np.float64), np.asarray(truth, dtype=bool)
    if min(positive.sum(), (~positive).sum()) < _FEWEST_FOR_ISOTONIC:
        return platt(raw, positive)
    order = np.lexsort((np.random.default_rng(0).random(len(raw)), positive))  # every fold gets its share of each class
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
    """Isotonic regression (Zadrozny and Elkan, 2002), its steps made slopes so that no two scores become one."""
    from sklearn.isotonic import IsotonicRegression

    raw, positive = np.asarray(raw_score, dtype=np.float64), np.asarray(truth, dtype=bool)
    edge = 1 / (len(raw) + 2)  # nobody is certain
    fitted = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip").fit(raw, positive)
    at, probability = fitted.X_thresholds_, fitted.y_thresholds_
    reach = max(float(raw.max() - raw.min()), 1e-6)
    at = np.concatenate([[at[0] - 10 * reach], at, [at[-1] + 10 * reach]])
    probability = np.concatenate([[edge / 2], probability, [1 - edge / 2]])
    ramp = np.linspace(0, 1, len(at))
    rising = (1 - _RAMP) * probability + _RAMP * ramp
    return Calibrator(slope=0.0, intercept=0.0, knots=tuple(zip(at.tolist(), rising.tolist(), strict=True)))


def platt(raw_score: np.ndarray, truth: np.ndarray) -> Calibrator:
    """Platt scaling with his smoothed targets, by Newton's method (Lin, Lin and Weng, 2007)."""
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
    """The reliability diagram: equally wide bins of the score, empty ones left out. `weights` [n], all alike without."""
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
    """Expected calibration error: how far score and share of defective parts lie apart, weighted by the bins' sizes."""
    diagram = reliability(score, truth, bins, weights)
    total = sum(entry.weight for entry in diagram)
    apart = sum(entry.weight * abs(entry.mean_score - entry.share_defective) for entry in diagram)
    return apart / total if total else float("nan")


def _log_loss(score: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return -np.log(np.clip(np.where(truth, score, 1 - score), 1e-6, 1))
