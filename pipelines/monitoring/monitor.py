"""Drift check: compares the latest parts that the champion inspected with the reference on which it was accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np

from models.errors import NotReady
from models.params import Monitor
from pipelines import line_defect_rate
from pipelines.adapters import model_registry
from pipelines.ledger import drift_checks, inspections
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck, now
from pipelines.monitoring import drift_page, drift_windows
from pipelines.monitoring.descriptor_names import in_words
from pipelines.monitoring.drift_windows import WindowPart
from pipelines.pages import index
from pipelines.promotion import published
from pipelines.workspace import Workspace

TOP = 5

Columns = Mapping[str, Sequence[float]]


def monitor(workspace: Workspace) -> DriftCheck:
    """Check the champion's latest window for drift and store the check. A drift gets the id of the event to be sent.

    Without new inspections, the stored check of the same window is returned. With too few parts, the check has `judged`
    False and is not stored. Raises NotReady without a champion.
    """
    params = workspace.params()
    champion = model_registry.champion(workspace, params.line)
    if champion is None:
        raise NotReady(f"Line {params.line} has no champion yet.", next_step="Train one: defectloop train")
    rules = params.monitor
    with Ledger.open(workspace.ledger_url) as ledger:
        artefact = champion.tags["artefact_sha256"]
        window = inspections.of_latest_parts(ledger, params.line, rules.window, artefact_sha256=artefact)
        last = window[-1].id if window else None
        if last is not None and (kept := drift_checks.of_window(ledger, params.line, champion.version, last)):
            return kept
        parts = drift_windows.parts_of(window)
        accepted_on, rate = (
            _reference(model_registry.reference(workspace, champion)),
            line_defect_rate.of_line(workspace).rate,
        )
        reference = drift_windows.comparable(accepted_on, [part.slice for part in parts], rate)
        check = DriftCheck(
            line=params.line,
            slice=most_reported(parts),
            checked_at=now(),
            model_version=champion.version,
            first_inspection=window[0].id if window else None,
            last_inspection=last,
            n=len(parts),
            n_reference=len(next(iter(reference.values()))),
            judged=False,
            drifted=False,
            share_drifted=0.0,
            columns={},
            top_descriptors=[],
            explanation=f"Only {len(parts)} parts inspected by version {champion.version}; {rules.min_window} are needed.",
            report=None,
            event_id=None,
        )
        if len(parts) < rules.min_window:
            return check
        assert last is not None
        path = index.drift_page(workspace, champion.version, last)
        current = {name: [part.descriptors[name] for part in parts] for name in reference}
        _judge(check, current, reference, rules, path)
        drift_page.write(workspace, ledger, check, window, parts, accepted_on, rules, path)
        check = drift_checks.add(ledger, check)
    published.refresh(workspace)
    return check


def most_reported(parts: Sequence[WindowPart]) -> str | None:
    counts = Counter(part.slice for part in parts if part.slice is not None)
    return counts.most_common(1)[0][0] if counts else None


def _judge(check: DriftCheck, current: Columns, reference: Columns, rules: Monitor, report: Path) -> None:
    from pipelines.adapters import drift

    varying = [name for name in reference if len({*reference[name], *current[name]}) > 1]
    compared = drift.compare(
        {name: current[name] for name in varying},
        {name: reference[name] for name in varying},
        significance=rules.significance,
        drift_share=rules.drift_share,
        report=index.detail_of(report),
    )
    check.columns = {
        column.name: described(current[column.name], reference[column.name])
        | {"p_value": column.p_value, "drifted": column.drifted}
        for column in compared
    }
    check.judged = True
    check.share_drifted = sum(column.drifted for column in compared) / len(compared)
    check.drifted = check.share_drifted >= rules.drift_share
    by_size = sorted(check.columns, key=lambda name: -abs(check.columns[name]["shift"]))
    check.top_descriptors = [name for name in by_size if check.columns[name]["drifted"]][:TOP]
    check.explanation = explain(check)
    check.report = str(report)
    check.event_id = str(uuid4()) if check.drifted else None


def described(current: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """Return the median of both samples, and their difference in units of the reference's spread (scaled MAD)."""
    current_median, reference_median = float(np.median(current)), float(np.median(reference))
    spread = 1.4826 * float(np.median(np.abs(np.asarray(reference) - reference_median)))
    shift = (current_median - reference_median) / max(spread, 1e-9)
    return {"reference": reference_median, "current": current_median, "shift": shift}


def explain(check: DriftCheck) -> str:
    """Describe the result in words, with the largest shifts first."""
    share = f"{check.share_drifted:.0%} of {len(check.columns)} descriptors shifted over {check.n} parts"
    causes = [_change(name, check.columns[name]) for name in check.top_descriptors[:3]]
    verdict = "Drift" if check.drifted else "No drift"
    return f"{verdict}: {share}" + (f"; {', '.join(causes)}." if causes else ".")


def _change(name: str, numbers: Mapping[str, float]) -> str:
    moved = "rose" if numbers["shift"] > 0 else "fell"
    return f"{in_words(name)} {moved} from {numbers['reference']:.3g} to {numbers['current']:.3g}"


def _reference(path: Path) -> dict[str, list]:
    from pyarrow import parquet

    table: dict[str, list] = parquet.read_table(path).to_pydict()
    return table
