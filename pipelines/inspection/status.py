"""The present state of a line: data against its snapshot, champion, production, drift, refusals, pending reviews."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from models.dataset import annotation_table
from models.errors import NotReady
from pipelines import lineage
from pipelines.adapters import git, model_registry
from pipelines.adapters.model_registry import ModelVersion
from pipelines.image_files import quarantine
from pipelines.ledger import campaigns, drift_checks, inspections, promotions, requests, shadows, undecided, withdrawals
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.shadows import Agreement
from pipelines.ledger.tables import DriftCheck, Promotion, RetrainingRequest, Withdrawal
from pipelines.retraining import retrain
from pipelines.review import campaign
from pipelines.snapshot_tags import Snapshot, snapshots
from pipelines.snapshots import unsaved
from pipelines.snapshots.unsaved import Unsaved
from pipelines.workspace import Workspace

AUTOMATION = "refs/heads/defectloop"  # branches on which automation publishes its commits (`retraining.clone`)


@dataclass(frozen=True)
class OpenCampaign:
    id: int
    progress: campaigns.Progress
    ends_at: datetime


@dataclass(frozen=True)
class Champion:
    version: str
    snapshot: str
    mlflow_run_id: str
    artefact_sha256: str


@dataclass(frozen=True)
class Challenger:
    """The version with the alias `challenger`: what it judged in production, in the shadow or as a canary."""

    version: str
    agreements: list[Agreement]
    answered_parts: int


@dataclass(frozen=True)
class Drift:
    """The latest drift check of the present champion."""

    checked_at: datetime
    model_version: str
    drifted: bool
    share_drifted: float
    parts: int
    explanation: str
    report: str | None


@dataclass(frozen=True)
class Refusal:
    """The latest decision, if it left the champion as it was. With `waits`, a person has to accept the version first."""

    version: str
    reasons: list[str]
    decided_at: datetime
    waits: bool


@dataclass(frozen=True)
class Branch:
    """A branch whose commits are not part of the present one."""

    name: str
    commits: int


@dataclass(frozen=True)
class Status:
    line: str
    images: int
    synthetic: int
    quarantined: int
    snapshot: Snapshot | None  # of the present data
    newest_snapshot: str | None
    unsaved: Unsaved | None  # None: without a snapshot on this machine
    champion: Champion | None
    challenger: Challenger | None
    versions: int
    inspected_parts: dict[str, int]  # by verdict
    drift: Drift | None
    refusal: Refusal | None
    pending_promotions: list[str]
    withdrawn: list[Withdrawal]
    last_request: RetrainingRequest | None
    campaigns: list[OpenCampaign]
    undecided: int  # parts with the verdict `review` that nobody has reviewed
    branches: list[Branch]


def status(workspace: Workspace) -> Status:
    params = workspace.params()
    line = params.line
    taken = snapshots(workspace)
    table = annotation_table.load(workspace.annotations)
    champion = model_registry.champion(workspace, line)
    with Ledger.open(workspace.ledger_url) as ledger:
        campaign.end_expired(ledger, line, params.retrain)
        retrain.tidy(ledger, line, params.retrain)
        checks, asked = drift_checks.all_of(ledger, line), requests.all_of(ledger, line)
        return Status(
            line=line,
            images=table.num_rows,
            synthetic=table.filter(table["synthetic"]).num_rows,
            quarantined=len(quarantine.entries(workspace)),
            snapshot=_present(workspace, taken),
            newest_snapshot=taken[-1].tag if taken else None,
            unsaved=unsaved.since_snapshot(workspace),
            champion=_champion(champion) if champion else None,
            challenger=_challenger(workspace, ledger, line, champion),
            versions=len(model_registry.versions(workspace, line)),
            inspected_parts=inspections.count_parts(ledger, line),
            drift=_drift(checks, champion.version) if champion else None,
            refusal=last_refusal(promotions.all_of(ledger, line)),
            pending_promotions=[f"{item.kind} {item.version}" for item in promotions.pending(ledger, line)],
            withdrawn=withdrawals.standing(ledger, line),
            last_request=asked[-1] if asked else None,
            campaigns=_open_campaigns(ledger, line, params.retrain.campaign_days),
            undecided=undecided.parts(ledger, line, 0).total,
            branches=_unmerged(workspace),
        )


def last_refusal(decisions: list[Promotion]) -> Refusal | None:
    """Return the latest refusal, unless a later decision changed the champion. `decisions` are the line's, oldest first."""
    for decision in reversed(decisions):
        if decision.state == "overtaken":
            continue
        if decision.kind in promotions.CHANGES:
            return None
        return Refusal(
            decision.version, list(decision.reasons), decision.decided_at, waits=decision.kind == promotions.WAIT
        )
    return None


def _present(workspace: Workspace, taken: list[Snapshot]) -> Snapshot | None:
    """Return the snapshot of the present data, or the newest one."""
    try:
        data_hash = lineage.data_hash(workspace)
    except NotReady:
        return taken[-1] if taken else None
    return next((one for one in reversed(taken) if one.data_hash == data_hash), taken[-1] if taken else None)


def _champion(version: ModelVersion) -> Champion:
    tags = version.tags
    return Champion(version.version, tags["snapshot"], version.mlflow_run_id, tags[model_registry.ARTEFACT])


def _challenger(workspace: Workspace, ledger: Ledger, line: str, champion: ModelVersion | None) -> Challenger | None:
    number = model_registry.alias(workspace, line, model_registry.CHALLENGER)
    if number is None or (champion and champion.version == number):
        return None
    judged = shadows.agreements(ledger, line, number)
    return Challenger(number, judged, inspections.count_parts_of_version(ledger, line, number))


def _drift(checks: list[DriftCheck], champion: str) -> Drift | None:
    for check in reversed(checks):
        if check.model_version == champion:
            return Drift(
                check.checked_at,
                check.model_version,
                check.drifted,
                check.share_drifted,
                check.n,
                check.explanation,
                check.report,
            )
    return None


def _unmerged(workspace: Workspace) -> list[Branch]:
    listed = git.run(
        workspace.root, "for-each-ref", "--no-merged=HEAD", "--format=%(refname:strip=2)", AUTOMATION, check=False
    )
    return [
        Branch(name, int(git.run(workspace.root, "rev-list", "--count", f"HEAD..{name}")))
        for name in listed.splitlines()
    ]


def _open_campaigns(ledger: Ledger, line: str, days: float) -> list[OpenCampaign]:
    return [
        OpenCampaign(item.id, campaigns.progress(ledger, item.id), item.opened_at + timedelta(days=days))
        for item in campaigns.open_ones(ledger, line)
    ]
