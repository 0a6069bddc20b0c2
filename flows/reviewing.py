"""Ground truth from people, for the command line and the review page alike; the end of a campaign starts the next flow."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pipelines.ledger import campaigns, undecided
from pipelines.ledger.campaigns import AskedPart
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign
from pipelines.ledger.undecided import Undecided
from pipelines.review import answers, campaign
from pipelines.review.answers import CampaignProgress
from pipelines.workspace import Workspace

AGAIN = "Answers and event are kept; the next `defectloop monitor` sends the event again. By hand: defectloop retrain"
LISTED = 50  # of the parts that the detector left to people


@dataclass(frozen=True)
class OpenCampaign:
    campaign: Campaign
    progress: campaigns.Progress


@dataclass(frozen=True)
class WaitingParts:
    """What waits for a person: the parts that campaigns ask about, and those that the detector left to people."""

    campaigns: list[OpenCampaign]
    asked: list[AskedPart]
    undecided: Undecided


def waiting(workspace: Workspace) -> WaitingParts:
    """Everything that `defectloop review` lists. Campaigns that are past their time end here."""
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
        _announce(workspace)
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
    """Keep one label. The one that ends a campaign is announced, where a Prefect server runs."""
    with Ledger.open(workspace.ledger_url) as ledger:
        progress = answers.record(ledger, workspace.params().line, part, label, reviewer, views=views, comment=comment)
    return _announced(workspace, progress)


def cant_say(workspace: Workspace, part: str, reviewer: str, why: str) -> CampaignProgress:
    """Keep that nobody can tell what the part is; this too may be the answer that ends a campaign."""
    with Ledger.open(workspace.ledger_url) as ledger:
        progress = answers.cant_say(ledger, workspace.params().line, part, reviewer, why)
    return _announced(workspace, progress)


def skip(workspace: Workspace, part: str, reviewer: str, comment: str | None = None) -> CampaignProgress:
    with Ledger.open(workspace.ledger_url) as ledger:
        return answers.skip(ledger, workspace.params().line, part, reviewer, comment)


def close(workspace: Workspace, campaign_id: int, reviewer: str, why: str) -> campaigns.Progress:
    """End a campaign early; the retraining that waits for it goes on with what was answered."""
    with Ledger.open(workspace.ledger_url) as ledger:
        answers.close_campaign(ledger, workspace.params().line, campaign_id, reviewer, why)
        progress = campaigns.progress(ledger, campaign_id)
    _announce(workspace)
    return progress


def _announced(workspace: Workspace, progress: CampaignProgress) -> CampaignProgress:
    if progress.ended:
        _announce(workspace)
    return progress


def _announce(workspace: Workspace) -> None:
    from flows import home

    if home.use(workspace) is None:
        return  # nobody listens; `defectloop retrain` goes on by hand
    from flows import events

    events.send_waiting(workspace, AGAIN)
