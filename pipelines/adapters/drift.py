"""Drift statistics and their report: Evidently. The only importer of evidently."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ColumnDrift:
    """Drift of one descriptor; `p_value` of the two-sample Kolmogorov-Smirnov test."""

    name: str
    p_value: float
    drifted: bool


def compare(
    current: Mapping[str, Sequence[float]],
    reference: Mapping[str, Sequence[float]],
    *,
    significance: float,
    drift_share: float,
    report: Path,
) -> list[ColumnDrift]:
    """Test every column of `reference` for drift and write Evidently's HTML report. Returns one result per column.

    Method and threshold are fixed, because Evidently's defaults change with the size of the reference: Kolmogorov-Smirnov,
    with `significance` divided by the number of columns (Bonferroni), so that it holds for all columns together.
    """
    warnings.filterwarnings("ignore", module=r"(evidently|litestar|numpy)")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    names = list(reference)
    threshold = significance / len(names)
    definition = DataDefinition(numerical_columns=names)
    preset = DataDriftPreset(columns=names, num_method="ks", num_threshold=threshold, drift_share=drift_share)
    now, before = (
        Dataset.from_pandas(pd.DataFrame({name: window[name] for name in names}), definition)
        for window in (current, reference)
    )
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        snapshot = Report([preset]).run(now, before)
        report.parent.mkdir(parents=True, exist_ok=True)
        partial = report.with_name(f".{report.name}.{os.getpid()}.partial")
        snapshot.save_html(str(partial))
        partial.replace(report)
    p_values = {}
    for metric in snapshot.dict()["metrics"]:
        if metric["config"]["type"].endswith("ValueDrift"):
            p_values[metric["config"]["column"]] = float(metric["value"])
    return [ColumnDrift(name, p_values[name], p_values[name] < threshold) for name in names]
