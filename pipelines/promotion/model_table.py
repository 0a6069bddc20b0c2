"""Rows of the table that compares versions, for the demo and for Prefect's artifact. Pure."""

from __future__ import annotations

import math
from typing import Any

from models.evaluation.evaluation import Evaluation
from models.metrics.verdict_metrics import Metrics

SHOWN = (("f1", "F1"), ("auroc", "AUROC"), ("escape_rate", "escapes"), ("overkill_rate", "overkill"))


def model_rows(numbers: dict[str, Any]) -> list[dict[str, str]]:
    """Return one row per version and slice, each metric with its 95 % interval. `numbers` come from a decision."""
    rows = []
    for version, values in numbers.get("versions", {}).items():
        for name, metrics in Evaluation.from_dict(values).slices.items():
            shown = {title: with_interval(metrics, key) for key, title in SHOWN}
            rows.append({"version": f"v{version}", "slice": name, "parts": str(metrics.n), **shown})
    return rows


def with_interval(metrics: Metrics, name: str) -> str:
    value = getattr(metrics, name)
    if math.isnan(value):
        return "–"
    low, high = metrics.intervals.get(name, (math.nan, math.nan))
    return _short(value, 3) if math.isnan(low) else f"{_short(value, 3)} ({_short(low, 2)}–{_short(high, 2)})"


def _short(value: float, digits: int) -> str:
    """Format .820 instead of 0.820, so that four columns fit a terminal."""
    return f"{value:.{digits}f}".removeprefix("0")
