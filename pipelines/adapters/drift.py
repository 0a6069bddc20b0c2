"""Drift statistics and their report: Evidently. The only importer of evidently."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

SIGNIFICANCE = 0.01


def compare(
    current: Mapping[str, Sequence[float]], reference: Mapping[str, Sequence[float]], *, report: Path
) -> dict[str, float]:
    """Compare every column of `reference` and write Evidently's HTML report. Returns the p value of each column.

    The method is fixed, because Evidently's defaults change with the size of the reference: the two-sample
    Kolmogorov-Smirnov test, whose significance (1 % for all columns together, Bonferroni) only marks columns in Evidently's
    report.
    """
    warnings.filterwarnings("ignore", module=r"(evidently|litestar|numpy)")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    names = list(reference)
    threshold = SIGNIFICANCE / len(names)
    definition = DataDefinition(numerical_columns=names)
    preset = DataDriftPreset(columns=names, num_method="ks", num_threshold=threshold)
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
    return p_values
