"""Scores and verdicts where every part of the validation split is defective: nobody knows how a good one scores. Pure.

The score stays the network's own probability. A part fails where a defect is found as surely as regions are; everything
else goes to people, who thereby find the good parts that the next calibration needs. Nothing passes.
"""

from __future__ import annotations

from models.thresholds.calibration import Calibrator
from models.vocabulary import OperatingPoint

BASIS = "the network's own probability: no good part was there to calibrate it; nothing passes"
CALIBRATOR = Calibrator(slope=1.0, intercept=0.0)


def operating_point(region_threshold: float) -> OperatingPoint:
    return OperatingPoint(pass_below=0.0, fail_from=region_threshold)
