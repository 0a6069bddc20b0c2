"""The project's terms as types: label, split, verdict, operating point, region, prediction. Imports only NumPy."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np


class Label(StrEnum):
    GOOD = "good"
    DEFECT = "defect"


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Verdict(StrEnum):
    PASS = "pass"
    REVIEW = "review"
    FAIL = "fail"


@dataclass(frozen=True)
class OperatingPoint:
    """Two thresholds on the calibrated score: pass below `pass_below`, fail from `fail_from`, review between them."""

    pass_below: float
    fail_from: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.pass_below <= self.fail_from:
            raise ValueError(f"operating point needs 0 <= pass_below <= fail_from, got {self}")

    def verdict(self, score: float) -> Verdict:
        if score < self.pass_below:
            return Verdict.PASS
        return Verdict.FAIL if score >= self.fail_from else Verdict.REVIEW


@dataclass(frozen=True)
class Region:
    """A bounding box around a connected area of the heatmap above the region threshold, in pixels of the image."""

    x: int
    y: int
    width: int
    height: int
    score: float
    defect_type: str | None = None


@dataclass(frozen=True)
class Prediction:
    """The prediction of any kind of detector. Code downstream does not depend on the kind.

    score               calibrated probability that the part is defective, [0, 1]
    raw_score           the network's uncalibrated output, any real number, larger is more defective
    class_probabilities by defect type, [0, 1]
    heatmap             float32 [h, w] in [0, 1], at the graph's resolution, covering the whole image
    embedding           float32 [d]
    projection          float32 [k], the embedding on the training data's principal axes, used for drift monitoring
    regions             boxes derived from the heatmap
    """

    score: float
    raw_score: float
    heatmap: np.ndarray
    embedding: np.ndarray
    projection: np.ndarray
    class_probabilities: dict[str, float] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
