"""Scale a network's anomaly or attribution map to a heatmap with a region threshold of 0.5. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.images import codec
from models.metrics import box_metrics, pixel_metrics

BEGINS = 0.5  # region threshold of a heatmap
NORMAL_QUANTILE = 0.995  # of the relevance on good parts: the region threshold without masks
_LEAST = 1e-6


@dataclass(frozen=True)
class HeatScale:
    usual: np.ndarray  # [h, w], baseline: the mean relevance of good parts, such as an edge that every part has
    begins: float  # relevance above the baseline that is scaled to 0.5


def fit(
    relevance: np.ndarray,
    defective: np.ndarray,
    outlines: Sequence[np.ndarray | None],
    baseline: Literal["place", "overall", "none"],
) -> HeatScale:
    """Fit the scale on validation images: relevance [n, h, w], whether defective [n], and their masks or None.

    `baseline` "none" is for networks that are trained on masks: their relevance is a probability, and regions begin at 0.5.
    For the others, regions begin where the IoU with the masks is highest; without masks, at a high quantile of the
    relevance on good parts. "place" subtracts the mean of good parts at each position, "overall" their overall mean.
    """
    usual = np.zeros_like(relevance[0])
    if baseline == "none":
        return HeatScale(usual, BEGINS)
    good = relevance[~defective]
    usual += good.mean(0) if baseline == "place" else good.mean()
    best = _best(relevance - usual, defective, outlines)
    if best is None:
        best = max(float(np.quantile(good - usual, NORMAL_QUANTILE)), _LEAST)
    return HeatScale(usual, best)


def region_threshold(boxes: np.ndarray | None, true_boxes: Sequence[np.ndarray], defective: np.ndarray) -> float:
    """Return the region threshold, fitted on validation images.

    For a network that predicts `boxes` [n, m, 6], it is the score with the highest F1 against `true_boxes`; defective
    images without a labelled box are left out. For a heatmap (`boxes` is None), it is `BEGINS`.
    """
    if boxes is None:
        return BEGINS
    is_marked = [len(true) > 0 or not bad for true, bad in zip(true_boxes, defective, strict=True)]
    marked = [true for true, kept in zip(true_boxes, is_marked, strict=True) if kept]
    return box_metrics.best_threshold(list(boxes[is_marked]), marked) or BEGINS


def _best(unusual: np.ndarray, defective: np.ndarray, outlines: Sequence[np.ndarray | None]) -> float | None:
    hottest = float(unusual.max())
    if hottest <= 0 or not any(outline is not None for outline in outlines):
        return None
    tally = pixel_metrics.Tally(most=hottest)
    for one, bad, outline in zip(unusual, defective, outlines, strict=True):
        if not bad:
            tally.add(one, np.zeros(one.shape, dtype=bool))
        elif outline is not None:
            tally.add(codec.stretched(one, *outline.shape), outline)
    best = tally.best_threshold()
    return None if best is None else max(best, _LEAST * hottest)
