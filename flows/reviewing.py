"""Reviews by people. The end of a campaign sends an event, which continues the retraining."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipelines.ledger import campaigns, undecided
from pipelines.ledger.campaigns import AskedPart
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign
from pipelines.ledger.undecided import Undecided
from pipelines.review import answers, campaign, label_files, many
from pipelines.review.answers import CampaignProgress
from pipelines.review.many import Recorded
from pipelines.workspace import Workspace

AGAIN = "Answers and event are kept. Send the event again: defectloop monitor; or continue by hand: defectloop retrain"
LISTED = 50  # parts with the verdict `review` that are listed


@dataclass(frozen=True)
class OpenCampaign:
    campaign: Campaign
    progress: campaigns.Progress


@dataclass(frozen=True)
class WaitingParts:
    """Parts that wait for a review: those that campaigns ask about, and those with the verdict `review`."""

    campaigns: list[OpenCampaign]
    asked: list[AskedPart]
    undecided: Undecided


def waiting(workspace: Workspace) -> WaitingParts:
    """Return everything that `defectloop review` lists. Ends campaigns whose time is over."""
    params = workspace.params()
    with Ledger.open(workspace.ledger_url) as ledger:
        expired = campaign.end_expired(ledger, params.line, params.retrain)
        parts = WaitingParts(
            [
                OpenCampaign(item, campaigns.progress(ledger, item.id))
                for item in campaigns.open_ones(ledger, params.line)
            ],
            campaigns.waiting(ledger, params.line),
            undecided.parts(ledger, params.line, LISTED),
        )
    if expired:
        announce(workspace)
    return parts


def answer(
    workspace: Workspace,
    part: str,
    label: str,
    reviewer: str,
    *,
    views: Collection[str] | None = None,
    comment: str | None = None,
) -> CampaignProgress:
    """Record a label. If it ends a campaign and a Prefect server runs, send the event."""
    with Ledger.open(workspace.ledger_url) as ledger:
        progress = answers.record(ledger, workspace.params().line, part, label, reviewer, views=views, comment=comment)
    return _announced(workspace, progress)


def answer_many(workspace: Workspace, file: Path, by: str | None) -> Recorded:
    """Record the answers of a CSV file or a Label Studio export, all or none. If they end campaigns, send the events."""
    rows = label_files.read(file, by)
    with Ledger.open(workspace.ledger_url) as ledger:
        recorded = many.record(ledger, workspace.params().line, rows, file.name)
    if recorded.ended:
        announce(workspace)
    return recorded


def cant_say(workspace: Workspace, part: str, reviewer: str, why: str) -> CampaignProgress:
    """Record that the part cannot be judged. This answer can end a campaign too."""
    with Ledger.open(workspace.ledger_url) as ledger:
        progress = answers.cant_say(ledger, workspace.params().line, part, reviewer, why)
    return _announced(workspace, progress)


def skip(workspace: Workspace, part: str, reviewer: str, comment: str | None = None) -> CampaignProgress:
    with Ledger.open(workspace.ledger_url) as ledger:
        return answers.skip(ledger, workspace.params().line, part, reviewer, comment)


def close(workspace: Workspace, campaign_id: int, reviewer: str, why: str) -> campaigns.Progress:
    """End a campaign early. The retraining that waits for it continues with the answers so far."""
    with Ledger.open(workspace.ledger_url) as ledger:
        answers.close_campaign(ledger, workspace.params().line, campaign_id, reviewer, why)
        progress = campaigns.progress(ledger, campaign_id)
    announce(workspace)
    return progress


def _announced(workspace: Workspace, progress: CampaignProgress) -> CampaignProgress:
    if progress.ended:
        announce(workspace)
    return progress


def announce(workspace: Workspace) -> None:
    """Send the events that wait, if a Prefect server runs."""
    from flows import home

    if home.use(workspace) is None:
        return  # no server: `defectloop retrain` continues by hand
    from flows import events

    events.send_waiting(workspace, AGAIN)
