"""Expected outcomes per inspected part as rows of a table: one column per defect rate, or per version."""

from __future__ import annotations

import math
from collections.abc import Sequence

from models.metrics.costs import Expected
from models.metrics.intervals import UNKNOWN

SHARES = (
    ("pass_rate", "parts that pass"),
    ("review_rate", "parts sent to review"),
    ("fail_rate", "parts that fail"),
    ("good_among_failed", "good parts among those that fail"),
)


def expected_rows(columns: Sequence[Expected]) -> list[tuple[str, ...]]:
    """Return (title, one text per column), each number with its 95 % interval."""
    rows = [(title, *(_share(one, name) for one in columns)) for name, title in SHARES]
    rows.append(("defective among delivered", *(delivered(one) for one in columns)))
    rows.append(("cost per part", *(_number(one, "cost_per_part") for one in columns)))
    rows.append(("cost per part without inspection", *(f"{one.cost_if_all_pass:.3g}" for one in columns)))
    return rows


def delivered(one: Expected) -> str:
    """Format the defective parts per million delivered parts."""
    if math.isnan(one.delivered_defective):
        return "–"
    low, high = one.intervals.get("delivered_defective", UNKNOWN)
    return f"{_ppm(one.delivered_defective)} ppm [{_ppm(low)}, {_ppm(high)}]"


def _share(one: Expected, name: str) -> str:
    value = getattr(one, name)
    low, high = one.intervals.get(name, UNKNOWN)
    return "–" if math.isnan(value) else f"{value:.1%} [{low:.1%}, {high:.1%}]"


def _number(one: Expected, name: str) -> str:
    value = getattr(one, name)
    low, high = one.intervals.get(name, UNKNOWN)
    return "–" if math.isnan(value) else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _ppm(share: float) -> str:
    """Format in ppm with two significant digits."""
    parts = share * 1e6
    digits = 0 if parts < 100 else 2 - len(str(int(parts)))
    return f"{round(parts, digits):,.0f}"
