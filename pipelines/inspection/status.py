"""The state of a line: snapshot, champion, production, drift, pending reviews."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from models.dataset import annotation_table
from pipelines.adapters import model_registry
from pipelines.adapters.model_registry import ModelVersion
from pipelines.amounts import image_count
from pipelines.image_files import quarantine
from pipelines.ledger import campaigns, drift_checks, inspections, promotions, requests, undecided, withdrawals
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck, Promotion, RetrainingRequest, Withdrawal
from pipelines.promotion import champions
from pipelines.review import campaign
from pipelines.snapshot_tags import Snapshot, snapshots
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class OpenCampaign:
    id: int
    progress: campaigns.Progress
    ends_at: datetime


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
    pending_promotions: list[Promotion]
    withdrawn: list[Withdrawal]
    last_request: RetrainingRequest | None
    campaigns: list[OpenCampaign]
    undecided: int  # parts with the verdict `review` that nobody has reviewed


def status(workspace: Workspace) -> Status:
    params = workspace.params()
    line = params.line
    taken = snapshots(workspace)
    table = annotation_table.load(workspace.annotations)
    with Ledger.open(workspace.ledger_url) as ledger:
        campaign.end_expired(ledger, line, params.retrain)
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
            pending_promotions=promotions.pending(ledger, line),
            withdrawn=withdrawals.standing(ledger, line),
            last_request=asked[-1] if asked else None,
            campaigns=_open_campaigns(ledger, line, params.retrain.campaign_days),
            undecided=undecided.parts(ledger, line, 0).total,
        )


def _open_campaigns(ledger: Ledger, line: str, days: float) -> list[OpenCampaign]:
    return [
        OpenCampaign(item.id, campaigns.progress(ledger, item.id), item.opened_at + timedelta(days=days))
        for item in campaigns.open_ones(ledger, line)
    ]


def render(now: Status) -> str:
    """Format for a terminal. For everything missing, the command that creates it is named."""
    counts = ", ".join(f"{n} {verdict}" for verdict, n in now.inspected_parts.items())
    champion, check, asked = now.champion, now.last_drift_check, now.last_request
    rows = {
        "line": now.line,
        "data": image_count(now.images, now.synthetic)
        + (f", {now.quarantined} in quarantine" if now.quarantined else ""),
        "snapshot": f"{now.snapshot.tag}, {now.snapshot.data_hash}" if now.snapshot else "none: defectloop snapshot",
        "champion": f"version {champion.version} of {now.versions}, from {champion.tags['snapshot']}"
        if champion
        else "none: defectloop train",
        "inspected": f"parts: {counts}" if counts else "none: defectloop replay FOLDER",
        "drift": f"{check.explanation} ({check.checked_at:%Y-%m-%d %H:%M} UTC)" if check else "never checked",
        "retraining": _retraining(asked, labels_wait=_asks_people(asked, now.campaigns))
        if asked
        else "never requested",
        "review": _review(now),
    }
    if now.pending_promotions:
        decided = ", ".join(f"{item.kind} {item.version}" for item in now.pending_promotions)
        rows["decision"] = f"{decided} is pending: the next promote, rollback or monitor completes it"
    if now.withdrawn:
        rows["withdrawn"] = "; ".join(f"version {item.version}, {champions.in_words(item)}" for item in now.withdrawn)
    return "\n".join(f"{name:<11} {text}" for name, text in rows.items())


def _retraining(asked: RetrainingRequest, *, labels_wait: bool) -> str:
    """Describe the state of the latest request, with the command that continues it if needed."""
    text = f"request {asked.id} is {asked.state}" + (f": {asked.outcome}" if asked.outcome else "")
    if asked.state == "failed":
        return f"{text} → defectloop retrain"
    goes_on = asked.state in ("open", "training") or (asked.state == "labelling" and not labels_wait)
    return f"{text} → running or interrupted; continue: defectloop retrain" if goes_on else text


def _asks_people(asked: RetrainingRequest, opened: list[OpenCampaign]) -> bool:
    return asked.campaign_id in {item.id for item in opened}


def _review(now: Status) -> str:
    waits = [
        f"campaign {item.id}: {item.progress.answered} of {item.progress.wanted} answered, "
        f"ends on {item.ends_at:%Y-%m-%d %H:%M} UTC"
        for item in now.campaigns
    ]
    if now.undecided:
        waits.append(f"{now.undecided} parts with the verdict review")
    return f"{'; '.join(waits)}: defectloop review" if waits else "none waiting"
