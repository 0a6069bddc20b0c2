"""A line at a glance: snapshot, champion, production, drift, what waits for a person."""

from __future__ import annotations

from dataclasses import dataclass

from models import annotation_table
from pipelines import quarantine, snapshot
from pipelines.adapters import model_registry
from pipelines.adapters.model_registry import ModelVersion
from pipelines.amounts import of_them
from pipelines.ledger import drift_checks, inspections, promotions, requests, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck, Promotion, RetrainingRequest
from pipelines.snapshot import Snapshot
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Status:
    line: str
    images: int
    synthetic: int
    quarantined: int
    snapshot: Snapshot | None
    champion: ModelVersion | None
    versions: int
    inspected_parts: dict[str, int]  # by verdict
    last_drift_check: DriftCheck | None
    last_promotion: Promotion | None
    last_request: RetrainingRequest | None
    waiting_for_review: int


def status(workspace: Workspace) -> Status:
    line = workspace.params().line
    taken = snapshot.snapshots(workspace)
    table = annotation_table.load(workspace.annotations)
    with Ledger.open(workspace.ledger_url) as ledger:
        checks, asked = drift_checks.all_of(ledger, line), requests.all_of(ledger, line)
        return Status(
            line=line,
            images=table.num_rows,
            synthetic=table.filter(table["synthetic"]).num_rows,
            quarantined=len(quarantine.entries(workspace)),
            snapshot=taken[-1] if taken else None,
            champion=model_registry.champion(workspace, line),
            versions=len(model_registry.versions(workspace, line)),
            inspected_parts=inspections.count_parts(ledger, line),
            last_drift_check=checks[-1] if checks else None,
            last_promotion=promotions.last(ledger, line),
            last_request=asked[-1] if asked else None,
            waiting_for_review=len(reviews.waiting(ledger, line)),
        )


def render(now: Status) -> str:
    """For a terminal; what is missing names the command that makes it."""
    counts = ", ".join(f"{n} {verdict}" for verdict, n in now.inspected_parts.items())
    champion, check, asked = now.champion, now.last_drift_check, now.last_request
    rows = {
        "line": now.line,
        "data": of_them(now.images, now.synthetic) + (f", {now.quarantined} in quarantine" if now.quarantined else ""),
        "snapshot": f"{now.snapshot.tag}, {now.snapshot.data_hash}" if now.snapshot else "none: defectloop snapshot",
        "champion": f"version {champion.version} of {now.versions}, from {champion.tags['snapshot']}"
        if champion
        else "none: defectloop train",
        "inspected": f"parts: {counts}" if counts else "nothing: defectloop replay FOLDER",
        "drift": f"{check.explanation} ({check.checked_at:%Y-%m-%d %H:%M} UTC)" if check else "never checked",
        "retraining": f"request {asked.id} is {asked.state} {asked.outcome}".rstrip() if asked else "never asked for",
        "review": f"{now.waiting_for_review} parts wait: defectloop review"
        if now.waiting_for_review
        else "nothing waits",
    }
    return "\n".join(f"{name:<11} {text}" for name, text in rows.items())
