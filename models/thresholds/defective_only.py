"""Scores and verdicts for a validation split without good parts. Pure.

The scores of good parts are unknown, so the score is the network's uncalibrated probability. A part fails if its score
reaches the region threshold. All other parts are reviewed, which yields the good parts that the next calibration needs.
No part passes.
"""

from __future__ import annotations

from models.thresholds.calibration import Calibrator
from models.vocabulary import OperatingPoint

BASIS = "the network's own probability: no good part was there to calibrate it; nothing passes"
CALIBRATOR = Calibrator(slope=1.0, intercept=0.0)


def operating_point(region_threshold: float) -> OperatingPoint:
    return OperatingPoint(pass_below=0.0, fail_from=region_threshold)
