"""The typical range of a descriptor over similar images, for detecting gross outliers. Pure.

Distances are taken on scales without a hard limit: the logit scale for brightness, which is limited by black and white, and
the logarithmic scale for the others, for which ratios matter. A linear range around a small median would reach below zero
and include blurred images.
"""

from __future__ import annotations

import numpy as np

RANGED = ("brightness", "contrast", "sharpness", "noise", "saturation")
DARKEST = 1 / 512  # half a grey level of 8 bits; values are clipped to this distance from black and white
FAINTEST = {"contrast": 1e-4, "sharpness": 1e-4, "noise": 1e-4, "saturation": 0.02}  # added before taking logarithms
SMALLEST = 0.1  # minimum distance on the descriptor's scale


def typical_range(descriptor: str, values: np.ndarray, factor: float) -> tuple[float, float] | None:
    """Return (low, high): `factor` times the distance from the median to the outermost 5 %. None without values.

    Both sides are treated separately, because most descriptors are skewed; NaN is ignored.
    """
    sides = _sides(descriptor, values)
    if sides is None:
        return None
    middle, down, up = sides
    return _back(descriptor, middle - factor * down), _back(descriptor, middle + factor * up)


def distances(descriptor: str, values: np.ndarray) -> np.ndarray:
    """Return each value's distance from the median, relative to that of the outermost 5 % on its side. NaN stays NaN."""
    sides = _sides(descriptor, values)
    if sides is None:
        return np.full(len(values), np.nan)
    middle, down, up = sides
    away = _scaled(descriptor, values) - middle
    return np.where(away > 0, away / up, -away / down)


def _sides(descriptor: str, values: np.ndarray) -> tuple[float, float, float] | None:
    """Return median and distances to the 5 % and 95 % quantiles, on the descriptor's scale."""
    measured = np.asarray(values, dtype=float)
    measured = measured[~np.isnan(measured)]
    if not len(measured):
        return None
    low, middle, high = np.quantile(_scaled(descriptor, measured), [0.05, 0.5, 0.95])
    return float(middle), float(max(middle - low, SMALLEST)), float(max(high - middle, SMALLEST))


def _scaled(descriptor: str, values: np.ndarray) -> np.ndarray:
    numbers = np.asarray(values, dtype=float)
    if descriptor == "brightness":
        share = np.clip(numbers, DARKEST, 1 - DARKEST)
        return np.log(share / (1 - share))
    return np.log(np.maximum(numbers, 0) + FAINTEST[descriptor])


def _back(descriptor: str, scaled: float) -> float:
    if descriptor == "brightness":
        return float(1 / (1 + np.exp(-scaled)))
    return float(max(np.exp(scaled) - FAINTEST[descriptor], 0.0))
