"""How images of one kind usually look, as a range per descriptor that gross outliers fall out of. Pure.

Distances are taken where a look can go both ways alike: brightness on the logit scale, because black and white both end
it, the others on the logarithmic one, because an image has half or twice the sharpness. A linear range around a
small median reaches below zero, and a blurred image would lie in it.
"""

from __future__ import annotations

import numpy as np

LOOKS = ("brightness", "contrast", "sharpness", "noise", "saturation")
DARKEST = 1 / 512  # half a grey level of 8 bits: nearer to black or white is black or white
FAINTEST = {"contrast": 1e-4, "sharpness": 1e-4, "noise": 1e-4, "saturation": 0.02}  # of full scale: less is none
SMALLEST = 0.1  # on the scale of the look: differences below a tenth are nothing to look at


def usual_range(look: str, values: np.ndarray, reach: float) -> tuple[float, float] | None:
    """(low, high): from the median, `reach` times as far as the outermost 5 % lie; None without values.

    The sides are taken apart, because most looks are skewed; nan is left out.
    """
    sides = _sides(look, values)
    if sides is None:
        return None
    middle, down, up = sides
    return _back(look, middle - reach * down), _back(look, middle + reach * up)


def distances(look: str, values: np.ndarray) -> np.ndarray:
    """How far each value lies from the median, in units of where the outermost 5 % on its side begin; nan stays nan."""
    sides = _sides(look, values)
    if sides is None:
        return np.full(len(values), np.nan)
    middle, down, up = sides
    away = _scaled(look, values) - middle
    return np.where(away > 0, away / up, -away / down)


def _sides(look: str, values: np.ndarray) -> tuple[float, float, float] | None:
    """Median, and the distance to the 5 % and the 95 % quantile, on the look's own scale."""
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    if not len(known):
        return None
    low, middle, high = np.quantile(_scaled(look, known), [0.05, 0.5, 0.95])
    return float(middle), float(max(middle - low, SMALLEST)), float(max(high - middle, SMALLEST))


def _scaled(look: str, values: np.ndarray) -> np.ndarray:
    numbers = np.asarray(values, dtype=float)
    if look == "brightness":
        share = np.clip(numbers, DARKEST, 1 - DARKEST)
        return np.log(share / (1 - share))
    return np.log(np.maximum(numbers, 0) + FAINTEST[look])


def _back(look: str, scaled: float) -> float:
    if look == "brightness":
        return float(1 / (1 + np.exp(-scaled)))
    return float(max(np.exp(scaled) - FAINTEST[look], 0.0))
