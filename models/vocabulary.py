"""The words of the project as types: verdict, operating point, region, prediction. Imports NumPy alone."""

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
    """Two thresholds on the calibrated score: below `pass_below` pass, from `fail_from` on fail, between them review."""

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
    """A box around a connected hot area of the heatmap, in pixels of the inspected image."""

    x: int
    y: int
    width: int
    height: int
    score: float
    defect_type: str | None = None


@dataclass(frozen=True)
class Prediction:
    """What every kind of detector answers; nothing downstream asks which kind it was.

    score               calibrated probability that the part is defective, [0, 1]
    raw_score           the network's uncalibrated output, any real number, larger is more defective
    class_probabilities by defect type, [0, 1]
    heatmap             float32 [h, w] in [0, 1], the graph's own resolution, covering the whole image
    embedding           float32 [d]
    projection          float32 [k], the embedding on the training data's principal axes: what drift is measured on
    regions             boxes derived from the heatmap
    """

    score: float
    raw_score: float
    heatmap: np.ndarray
    embedding: np.ndarray
    projection: np.ndarray
    class_probabilities: dict[str, float] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
