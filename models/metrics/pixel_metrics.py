"""Pixel metrics of heatmaps against masks: IoU, AUROC and AUPRO. Pure; memory does not grow with the number of images.

Each image is added to histograms of heat with 16-bit resolution. Good images count too: all their pixels are defect-free.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

BINS = 1 << 16
MOST_FALSE = 0.3  # maximum false positive rate for AUPRO, as in MVTec AD's evaluation


@dataclass(frozen=True)
class PixelQuality:
    """
    n_images  images with a mask, and good images
    n_marked  images with an outlined defect
    iou       IoU of the thresholded heatmaps and the masks, over the pixels of all images
    auroc     pixel AUROC over all images
    aupro     mean overlap per region (connected area of a mask) over the false-positive rates up to 0.3, divided by it
              (Bergmann et al., 2020)
    """

    n_images: int
    n_marked: int
    iou: float
    auroc: float
    aupro: float

    def to_dict(self) -> dict:
        return asdict(self)


class Tally:
    """Accumulates images one by one, and computes metrics at the end. Heat lies in [0, `most`]."""

    def __init__(self, most: float = 1.0) -> None:
        self.most = most
        self.n_images = self.n_marked = self.n_regions = 0
        self.good = np.zeros(BINS)  # pixels free of defects, by heat
        self.defective = np.zeros(BINS)
        self.regions = np.zeros(BINS)  # shares of each region's pixels, by heat, summed over regions

    def add(self, heat: np.ndarray, truth: np.ndarray) -> None:
        """Add one image: `heat` [h, w] and `truth` bool [h, w], all False for a good image."""
        level = self._level(heat)
        self.good += np.bincount(level[~truth], minlength=BINS)
        self.n_images += 1
        if not truth.any():
            return
        self.n_marked += 1
        self.defective += np.bincount(level[truth], minlength=BINS)
        names, count = ndimage.label(truth, structure=np.ones((3, 3)))
        areas = np.bincount(names[truth])
        self.regions += np.bincount(level[truth], weights=1 / areas[names[truth]], minlength=BINS)
        self.n_regions += count

    def quality(self, threshold: float) -> PixelQuality | None:
        """Return the metrics with the region threshold `threshold`, or None without outlined defects."""
        if not self.n_marked or not self.good.any():
            return None
        false, true, overlap = (_from_above(counts) for counts in (self.good, self.defective, self.regions))
        false, true, overlap = false / false[-1], true / true[-1], overlap / self.n_regions
        return PixelQuality(
            n_images=self.n_images,
            n_marked=self.n_marked,
            iou=float(self._iou()[self._level(np.array(threshold))]),
            auroc=float(np.trapezoid(true, false)),
            aupro=_area_up_to(false, overlap, MOST_FALSE) / MOST_FALSE,
        )

    def best_threshold(self) -> float | None:
        """Return the heat threshold with the best IoU, or None without outlined defects."""
        if not self.n_marked:
            return None
        return float(self._iou().argmax() / BINS * self.most)

    def _iou(self) -> np.ndarray:
        """Return the IoU by the lowest level that counts as defective."""
        true = _from_above(self.defective)[:0:-1]
        false = _from_above(self.good)[:0:-1]
        return np.asarray(true / (self.defective.sum() + false))

    def _level(self, heat: np.ndarray) -> np.ndarray:
        return np.clip(heat / self.most * BINS, 0, BINS - 1).astype(np.int64)


def _from_above(counts: np.ndarray) -> np.ndarray:
    """Return [BINS + 1]: cumulated counts of the hottest 0, 1, 2 … levels."""
    return np.concatenate([[0.0], np.cumsum(counts[::-1])])


def _area_up_to(x: np.ndarray, y: np.ndarray, end: float) -> float:
    """Return the area under the line through the points, from x = 0 to `end`."""
    inside = x < end
    return float(np.trapezoid(np.append(y[inside], np.interp(end, x, y)), np.append(x[inside], end)))
