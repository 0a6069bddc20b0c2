"""How images of one kind usually look, as a range per descriptor that gross outliers fall out of. Pure."""

from __future__ import annotations

import numpy as np

LOOKS = ("brightness", "contrast", "sharpness", "noise", "saturation")
SMALLEST = 0.005  # of full scale: differences below it are nothing to look at


def usual_range(values: np.ndarray, reach: float) -> tuple[float, float] | None:
    """(low, high): from the median, `reach` times as far as the outermost 5 % lie; None without values.

    The sides are taken apart, because most looks are skewed; nan is left out.
    """
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    if not len(known):
        return None
    low, middle, high = np.quantile(known, [0.05, 0.5, 0.95])
    down, up = max(middle - low, SMALLEST), max(high - middle, SMALLEST)
    return float(middle - reach * down), float(middle + reach * up)
