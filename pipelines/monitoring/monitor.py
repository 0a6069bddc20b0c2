"""Drift check: compares the parts that the champion inspected with the reference on which it was accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np

from models.dataset import annotation_table
from models.detector.runtime import Detector
from models.errors import NotReady
from models.params import Monitor
from pipelines import line_defect_rate
from pipelines.adapters import model_registry
from pipelines.adapters.model_registry import ARTEFACT, ModelVersion
from pipelines.ledger import drift_checks, inspections
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck, Inspection, now
from pipelines.monitoring import (
    alarm_limit,
    detection,
    diagnosis,
    drift_page,
    drift_windows,
    production,
    scan,
    standardised,
    station_changes,
)
from pipelines.monitoring.descriptor_names import in_words
from pipelines.monitoring.detection import Drift, Finding, Window
from pipelines.monitoring.diagnosis import ADVICE, Cause, Diagnosis
from pipelines.monitoring.drift_windows import WindowPart
from pipelines.monitoring.production import Production
from pipelines.monitoring.standardised import EXPECTED_DEFECTS, NOT_DESCRIPTORS, Scale
from pipelines.pages import index
from pipelines.promotion import published
from pipelines.workspace import Workspace

TOP = 5
FEWEST_PER_MONTH = 1000.0  # parts; a line that inspects fewer is examined as if it inspected these

Columns = Mapping[str, Sequence]


def monitor(workspace: Workspace) -> DriftCheck:
    """Check the parts that the champion inspected since the last check, and store the check.

    A drift whose cause is the product gets the id of the event to be sent. Without new parts, the last check is returned.
    With too few parts, the check has `judged` False and is not stored. Raises NotReady without a champion.
    """
    params = workspace.params()
    champion = model_registry.champion(workspace, params.line)
    if champion is None:
        raise NotReady(f"Line {params.line} has no champion yet.", next_step="Train one: defectloop train")
    artefact = champion.tags[ARTEFACT]
    with Ledger.open(workspace.ledger_url) as ledger:
        newest = inspections.latest(ledger, params.line, 1, artefact_sha256=artefact)
        if newest and (kept := drift_checks.of_window(ledger, params.line, champion.version, newest[-1].id)):
            return kept
        reference = _reference(model_registry.reference(workspace, champion))
        names = [name for name in reference if name not in NOT_DESCRIPTORS]
        stream = production.read(ledger, params.line, artefact, names)
        previous = drift_checks.latest(ledger, params.line, champion.version)
        if len(stream.ids) < params.monitor.min_window:
            return _too_few(params.line, champion.version, stream, params.monitor)
        check = _examined(workspace, ledger, champion, reference, stream, previous)
        if check is None:
            assert previous is not None
            return previous
        check = drift_checks.add(ledger, check)
    published.refresh(workspace)
    return check


def _too_few(line: str, version: str, stream: Production, rules: Monitor) -> DriftCheck:
    n = len(stream.ids)
    return DriftCheck(
        line=line,
        slice=None,
        checked_at=now(),
        model_version=version,
        first_inspection=int(stream.ids[0]) if n else None,
        last_inspection=stream.last,
        n=n,
        n_reference=0,
        judged=False,
        drifted=False,
        share_drifted=0.0,
        columns={},
        top_descriptors=[],
        explanation=f"Only {n} parts inspected by version {version}; {rules.min_window} are needed.",
        report=None,
        event_id=None,
    )


def _examined(
    workspace: Workspace,
    ledger: Ledger,
    champion: ModelVersion,
    reference: Columns,
    stream: Production,
    previous: DriftCheck | None,
) -> DriftCheck | None:
    """Examine the stream and write the report. None if too few parts came since the previous check for another look."""
    rules = workspace.params().monitor
    rate = line_defect_rate.of_line(workspace).rate
    of_reference = np.column_stack([np.asarray(reference[name], np.float64) for name in stream.names])
    slices = np.array(reference.get("slice", [None] * len(of_reference)), dtype=object)
    weights = standardised.weights_of(reference, rate)
    defective = np.array(reference.get("defective", [False] * len(of_reference)), dtype=bool)
    groups = defective.astype(int) if rate is not None else np.zeros(len(of_reference), int)
    scale = standardised.fit(of_reference, stream.names, slices, weights, groups)
    windows = scan.lengths(min(rules.min_window, rules.window), rules.window)
    per_month = max(production.parts_per_month(stream.times), FEWEST_PER_MONTH)
    limits = alarm_limit.limits(
        of_reference, stream.names, slices, weights, groups, windows, per_month / rules.false_alarms_per_month
    )
    rows = scale.standardise(stream.rows.astype(np.float64), stream.slices)
    on_the_scale = scale.standardise(of_reference, slices)
    before = (previous.numbers if previous is not None else None) or {}
    seen, ongoing = int(before.get("parts_seen", 0)), before.get("ongoing")
    finding = detection.examine(rows, scale, limits, windows, seen, Drift(*ongoing) if ongoing else None)
    if finding.strongest is None:
        return None
    window = finding.strongest
    cause = (
        _diagnosed(workspace, champion, reference, scale, on_the_scale, rows, window, defective, weights)
        if finding.drifted
        else None
    )
    shown = inspections.with_numbers(ledger, stream.ids[window.start : window.end].tolist())
    path = index.drift_page(workspace, champion.version, int(stream.last or 0))
    check = _compared(workspace.params().line, champion.version, stream, shown, reference, rate, rules, path)
    _conclude(check, stream, finding, cause, scale, rows, limits.distance, rules)
    check.numbers = (check.numbers or {}) | {"parts_per_month": round(per_month)}
    drift_page.write(workspace, ledger, check, shown, drift_windows.parts_of(shown), reference, rules, path)
    return check


def _diagnosed(
    workspace: Workspace,
    champion: ModelVersion,
    reference: Columns,
    scale: Scale,
    on_the_scale: np.ndarray,
    rows: np.ndarray,
    window: Window,
    defective: np.ndarray,
    weights: np.ndarray,
) -> Diagnosis:
    """Name the cause. `on_the_scale` [m, d + 1] is the standardised reference, with `defective` [m] and `weights` [m]."""
    axes = on_the_scale @ scale.whitening
    both = 0 < defective.sum() < len(axes)
    toward = axes[defective].mean(axis=0) - axes[~defective].mean(axis=0) if both else None
    detector = Detector(model_registry.download(workspace, champion))
    changes = station_changes.shifts(detector, _images(workspace, reference), scale, scale.names[:-1])
    shift = rows[window.start : window.end].mean(axis=0) @ scale.whitening
    rate = float(weights[defective].sum() / weights.sum())
    return diagnosis.diagnose(shift, window.error, changes, toward, rate)


def _images(workspace: Workspace, reference: Columns) -> list[tuple[Path, str | None]]:
    """Return an image of every reference part, evenly mixed, as far as they are in this workspace."""
    if "part" not in reference:  # a reference of an older version
        return []
    file_of = {row["part"]: row["file"] for row in annotation_table.load(workspace.annotations).to_pylist()}
    found = [
        (workspace.data / file_of[part], slice)
        for part, slice in zip(reference["part"], reference["slice"], strict=True)
        if part in file_of
    ]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[number] for number in order]


def _compared(
    line: str,
    version: str,
    stream: Production,
    shown: Sequence[Inspection],
    reference: Columns,
    rate: float | None,
    rules: Monitor,
    report: Path,
) -> DriftCheck:
    """Compare the window descriptor by descriptor, with Evidently, with reference parts of the same slices."""
    from pipelines.adapters import drift

    parts = drift_windows.parts_of(shown)
    matched = drift_windows.comparable(reference, [part.slice for part in parts], rate)
    current = {name: [part.descriptors[name] for part in parts] for name in stream.names}
    varying = [name for name in stream.names if len({*matched[name], *current[name]}) > 1]
    p_values = drift.compare(
        {name: current[name] for name in varying},
        {name: matched[name] for name in varying},
        report=index.detail_of(report),
    )
    return DriftCheck(
        line=line,
        slice=most_reported(parts),
        checked_at=now(),
        model_version=version,
        first_inspection=shown[0].id,
        last_inspection=stream.last,
        n=len(parts),
        n_reference=len(matched["score"]),
        judged=True,
        drifted=False,
        share_drifted=0.0,
        columns={
            name: described(current[name], matched[name]) | {"p_value": p_values[name], "drifted": False}
            for name in varying
        },
        top_descriptors=[],
        explanation="",
        report=str(report),
        event_id=None,
    )


def _conclude(
    check: DriftCheck,
    stream: Production,
    finding: Finding,
    cause: Diagnosis | None,
    scale: Scale,
    rows: np.ndarray,
    limit: float,
    rules: Monitor,
) -> None:
    """Enter what was found into the check."""
    window = finding.strongest
    assert window is not None
    moved = np.abs(rows[window.start : window.end].mean(axis=0))
    over = {name for name, is_over in zip(scale.names, window.over, strict=True) if is_over and finding.drifted}
    if EXPECTED_DEFECTS in over:
        over.add("score")
    for name, numbers in check.columns.items():
        numbers["drifted"] = name in over
    size = dict(zip(scale.names, moved, strict=True))
    by_size = sorted(check.columns, key=lambda name: -size[name])
    check.drifted = finding.drifted
    check.share_drifted = sum(one["drifted"] for one in check.columns.values()) / max(1, len(check.columns))
    check.top_descriptors = ([name for name in by_size if name in over] or by_size)[:TOP] if finding.drifted else []
    if finding.drifted and finding.drift is not None:
        check.since = stream.times[finding.drift.since].astype(datetime).replace(tzinfo=UTC)
    if cause is not None:
        check.cause = cause.cause.value
        check.event_id = str(uuid4()) if cause.cause is Cause.PRODUCT else None
    check.numbers = {
        "evidence": round(window.evidence, 3),
        "window": window.end - window.start,
        "parts_seen": len(rows),
        "ongoing": [finding.drift.since, finding.drift.last] if finding.ongoing and finding.drift else None,
        "false_alarms_per_month": rules.false_alarms_per_month,
        "limit": round(limit, 2),
        "reasons": list(cause.reasons) if cause is not None else [],
        "explained": round(cause.explained, 3) if cause is not None else None,
    }
    check.explanation = explain(check)


def most_reported(parts: Sequence[WindowPart]) -> str | None:
    counts = Counter(part.slice for part in parts if part.slice is not None)
    return counts.most_common(1)[0][0] if counts else None


def described(current: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """Return the median of both samples, and their difference in units of the reference's spread (scaled MAD)."""
    current_median, reference_median = float(np.median(current)), float(np.median(reference))
    spread = 1.4826 * float(np.median(np.abs(np.asarray(reference) - reference_median)))
    shift = (current_median - reference_median) / max(spread, 1e-9)
    return {"reference": reference_median, "current": current_median, "shift": shift}


def explain(check: DriftCheck) -> str:
    """Describe the result in words: what moved most, since when, the likely cause, and what to do."""
    numbers = check.numbers or {}
    if not check.drifted:
        return (
            f"No drift: the strongest window of {check.n} parts reaches {numbers.get('evidence', 0):.0%} of the limit."
        )
    moved = ", ".join(_change(name, check.columns[name]) for name in check.top_descriptors[:3])
    since = f" since {check.since:%Y-%m-%d %H:%M} UTC" if check.since else ""
    text = f"Drift{since}, seen over {check.n} parts: {moved}."
    if check.cause is not None:
        text += f" Likely cause: {check.cause} ({'; '.join(numbers.get('reasons', ()))}). {ADVICE[Cause(check.cause)]}"
    return text


def _change(name: str, numbers: Mapping[str, float]) -> str:
    moved = "rose" if numbers["shift"] > 0 else "fell"
    return f"{in_words(name)} {moved} from {numbers['reference']:.3g} to {numbers['current']:.3g}"


def _reference(path: Path) -> dict[str, list]:
    from pyarrow import parquet

    table: dict[str, list] = parquet.read_table(path).to_pydict()
    return table
