"""From a network's relevance to a heatmap that says 0.5 where a region begins. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.images import codec
from models.metrics import box_metrics, pixel_metrics

BEGINS = 0.5  # heat from which on something is a region
NORMAL_QUANTILE = 0.995  # of the relevance on good parts: hotter is worth showing
_LEAST = 1e-6


@dataclass(frozen=True)
class HeatScale:
    usual: np.ndarray  # [h, w], what good parts show: an edge that every part has is no finding
    begins: float  # above the usual: relevance that becomes 0.5


def fit(
    relevance: np.ndarray,
    defective: np.ndarray,
    outlines: Sequence[np.ndarray | None],
    baseline: Literal["place", "overall", "none"],
) -> HeatScale:
    """From relevance [n, h, w] of validation images, whether they are defective [n], and what their masks outline.

    Without a `baseline`, regions begin where a pixel is more likely defective than not: the network learned outlines,
    from more of them than validation holds. Else where their IoU with the outlines of validation is best; where
    nobody drew any, where good parts hardly reach.
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
    """The score from which on something is a region, from validation images.

    A network that predicts `boxes` [n, m, 6] gets the score where their F1 against `true_boxes` is best; defective
    images without a marked box are left out. For a heatmap (None) it is `BEGINS`.
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
