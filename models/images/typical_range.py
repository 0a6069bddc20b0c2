"""The typical range of a descriptor over images of one kind, which gross outliers fall out of. Pure.

Distances are taken on a scale on which a descriptor can go both ways alike: the logit scale for brightness, because
black and white both end it, and the logarithmic scale for the others, because an image has half or twice the
sharpness. A linear range around a small median would reach below zero, and a blurred image would lie in it.
"""

from __future__ import annotations

import numpy as np

RANGED = ("brightness", "contrast", "sharpness", "noise", "saturation")
DARKEST = 1 / 512  # half a grey level of 8 bits: nearer to black or white is black or white
FAINTEST = {"contrast": 1e-4, "sharpness": 1e-4, "noise": 1e-4, "saturation": 0.02}  # of full scale: less is none
SMALLEST = 0.1  # on the scale of the descriptor: smaller differences do not matter


def typical_range(descriptor: str, values: np.ndarray, factor: float) -> tuple[float, float] | None:
    """(low, high): from the median, `factor` times as far as the outermost 5 % lie; None without values.

    The sides are taken apart, because most descriptors are skewed; nan is left out.
    """
    sides = _sides(descriptor, values)
    if sides is None:
        return None
    middle, down, up = sides
    return _back(descriptor, middle - factor * down), _back(descriptor, middle + factor * up)


def distances(descriptor: str, values: np.ndarray) -> np.ndarray:
    """How far each value lies from the median, in units of where the outermost 5 % on its side begin; nan stays nan."""
    sides = _sides(descriptor, values)
    if sides is None:
        return np.full(len(values), np.nan)
    middle, down, up = sides
    away = _scaled(descriptor, values) - middle
    return np.where(away > 0, away / up, -away / down)


def _sides(descriptor: str, values: np.ndarray) -> tuple[float, float, float] | None:
    """Median, and the distance to the 5 % and the 95 % quantile, on the descriptor's own scale."""
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
