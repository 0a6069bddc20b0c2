"""Results of the demo: `summary.json`, the table, the time line, and where to look next. Reads only stored records."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.demo.notes import Notes
from models.errors import DefectloopError
from models.evaluation.evaluation import Evaluation
from pipelines.adapters import model_registry, tracking
from pipelines.image_files import quarantine
from pipelines.ledger import drift_checks, inspections, promotions, requests
from pipelines.ledger.events import CLOSED
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck, RetrainingRequest
from pipelines.pages import index
from pipelines.promotion import model_table
from pipelines.retraining import policy
from pipelines.workspace import Workspace

POLL_S = 1.0
READS_PER_QUESTION = 10  # a client of Prefect costs 0.06 s of the processor, reading the ledger next to nothing
SHOWN = ("f1", "auroc", "escape_rate", "overkill_rate")


def trainings(place: Workspace) -> int:
    """Return the number of trainings in the workspace's tracking store."""
    return tracking.run_count(place, place.params().line)


def is_finished(place: Workspace, notes: Notes) -> bool:
    """Return whether the demo is complete: a retraining has promoted a second version, and its times are stored."""
    if notes.get("retraining_flow_overhead") is None:
        return False
    with Ledger.open(place.ledger_url) as ledger:
        return any(request.state == "promoted" for request in requests.all_of(ledger, place.params().line))


def wait_for_request(ledger: Ledger, line: str, timeout_s: float) -> RetrainingRequest:
    """Return the request that the drift event led to."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        worked = policy.worked(requests.all_of(ledger, line))
        if worked and worked[0].flow_run_id:
            return worked[0]
        time.sleep(POLL_S)
    raise DefectloopError(
        "The drift event started no retraining.", next_step="Read deploy.log in the workspace's state."
    )


def wait_for_outcome(ledger: Ledger, request_id: int, still_runs: Callable[[], bool]) -> RetrainingRequest:
    """Return the request once it is closed, however long that takes. Raises DefectloopError if its flow ended before."""
    while True:
        runs = still_runs()  # asked first: a flow closes its request before it ends
        for _ in range(READS_PER_QUESTION):
            request = requests.get(ledger, request_id)
            if request.state in CLOSED:
                return request
            if not runs:
                raise DefectloopError(
                    "The retraining flow ended without an outcome.",
                    next_step="Read deploy.log in the workspace's state, then run the demo again: it continues.",
                )
            time.sleep(POLL_S)


def write(
    place: Workspace, notes: Notes, timings_s: dict[str, float], *, peak_memory_mb: float, trained_before: int
) -> dict[str, Any]:
    """Write `summary.json` of the workspace and return its content."""
    from flows import titles

    line = place.params().line
    with Ledger.open(place.ledger_url) as ledger:
        checks = drift_checks.all_of(ledger, line)
        request = next(item for item in requests.all_of(ledger, line) if item.state == "promoted")
        decision = promotions.last(ledger, line, version=request.version)
    assert decision is not None
    overhead = {
        name: float(notes.get(name) or "nan") for name in ("training_flow_overhead", "retraining_flow_overhead")
    }
    summary = {
        "models": models(place, line, decision.numbers["versions"]),
        "drift_checks": [
            drift_check(check)
            for key in ("mono_check", "poly_check")
            for check in checks
            if str(check.id) == notes.get(key)
        ],
        "retraining": {
            "triggered_by": notes.get("triggered_by"),
            "event_id": request.event_id,
            "flow_run_id": request.flow_run_id,
            "deployment": titles.address("retraining", line),
            "new_labels": request.new_labels,
        },
        "quarantined": [{"path": entry.path, "reason": entry.reason} for entry in quarantine.entries(place)],
        "timings_s": timings_s | overhead,
        "peak_memory_mb": round(peak_memory_mb),
        "trained": trainings(place) - trained_before,
    }
    (place.root / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def models(place: Workspace, line: str, measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Return both versions of the last decision, measured on the same held-out test parts."""
    rows = []
    for version in model_registry.versions(place, line):
        if version.version not in measured:
            continue
        slices = Evaluation.from_dict(measured[version.version]).slices
        rows.append(
            {
                "version": version.version,
                "alias": next(iter(version.aliases), None),
                "data_snapshot": version.tags["data_hash"],
                "git_commit": version.tags["git_commit"],
                "mlflow_run_id": version.mlflow_run_id,
                "slices": {
                    name: {"n": metrics.n} | {key: getattr(metrics, key) for key in SHOWN}
                    for name, metrics in slices.items()
                },
            }
        )
    return rows


def drift_check(check: DriftCheck) -> dict[str, Any]:
    return {
        "slice": check.slice,
        "n": check.n,
        "drifted": check.drifted,
        "share_drifted": check.share_drifted,
        "top_descriptors": check.top_descriptors,
        "report": check.report,
    }


def show(place: Workspace, summary: dict[str, Any], console: Console, timeline: list[tuple[float, float, str]]) -> None:
    """Print the table of both versions, the time line of this call, and where to look next."""
    line = place.params().line
    with Ledger.open(place.ledger_url) as ledger:
        last = promotions.last(ledger, line, version=summary["models"][-1]["version"])
    assert last is not None
    rows = model_table.model_rows(last.numbers)
    table = Table(
        title="\nHeld-out parts, with 95 % intervals",
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for name in rows[0]:
        table.add_column(name, justify="left" if name in ("version", "slice") else "right")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
    if timeline:
        console.print("\n[bold]Time line[/bold]")
        _draw(console, timeline)
    _show_where_to_look(place, summary, console)


def _draw(console: Console, timeline: list[tuple[float, float, str]]) -> None:
    width, end = 44, timeline[-1][1]
    for start, stop, name in timeline:
        left = round(width * start / end)
        bar = " " * left + "█" * max(1, round(width * stop / end) - left)
        console.print(f"  {name:<20}{bar:<{width + 1}}[dim]{stop - start:6.1f} s[/dim]", highlight=False)


def where_to_look(place: Workspace, summary: dict[str, Any]) -> dict[str, str]:
    """Return files and commands to look at next, as typed in the current directory, by what they show."""
    with Ledger.open(place.ledger_url) as ledger:
        part = inspections.an_inspected_part(ledger, place.params().line)
    root = Path(os.path.relpath(place.root))
    state = Path(os.path.relpath(place.state))
    drifted = [check["report"] for check in summary["drift_checks"] if check["drifted"]]
    automation = state / "automation" / place.params().line
    places: dict[str, object] = {
        "all reports": os.path.relpath(index.index_page(place)),
        "report with pictures": automation / "artifacts" / "evaluate" / "report.html",
        "drift report": os.path.relpath(drifted[0]) if drifted else "–",
        "quarantine": root / "quarantine",
        "MLflow and Prefect": f"defectloop ui --workspace {root}",
        "one part's history": f"defectloop trace {part} --workspace {root}",
        "all numbers": root / "summary.json",
    }
    return {name: str(value) for name, value in places.items()}


def _show_where_to_look(place: Workspace, summary: dict[str, Any], console: Console) -> None:
    console.print("\n[bold]Where to look[/bold]  (commands live in .venv/bin)")
    for name, value in where_to_look(place, summary).items():
        console.print(f"  {name:<22}{value}", highlight=False, soft_wrap=True)
    console.print(
        f"\n{summary['trained']} trainings in this call, {summary['timings_s']['total']:.0f} s, "
        f"at most {summary['peak_memory_mb']} MB.",
        highlight=False,
    )
