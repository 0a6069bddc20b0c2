"""Ground truth from people, for the command line and the review page alike; the last label starts the next flow."""

from __future__ import annotations

from pipelines.ledger import reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection
from pipelines.review.campaign import CampaignProgress, record
from pipelines.workspace import Workspace

AGAIN = "The labels are kept. Go on by hand: defectloop retrain"


def waiting(workspace: Workspace) -> list[Inspection]:
    """Parts that an open campaign asks about and nobody has judged."""
    with Ledger.open(workspace.ledger_url) as ledger:
        return reviews.waiting(ledger, workspace.params().line)


def answer(workspace: Workspace, part: str, label: str, reviewer: str, comment: str | None = None) -> CampaignProgress:
    """Keep one label. The one that completes a campaign is announced, where a Prefect server runs."""
    line = workspace.params().line
    with Ledger.open(workspace.ledger_url) as ledger:
        progress = record(ledger, line, part, label, reviewer, comment=comment)
    if progress.completed_event_id is not None:
        _announce(workspace, line, progress)
    return progress


def _announce(workspace: Workspace, line: str, progress: CampaignProgress) -> None:
    from flows import home

    if home.use(workspace) is None:
        return  # nobody listens; `defectloop retrain` goes on by hand
    from flows import events

    assert progress.completed_event_id is not None
    payload = {"campaign": progress.campaign_id, "labelled": progress.labelled}
    events.send(events.LABELS_COMPLETED, line=line, event_id=progress.completed_event_id, payload=payload, again=AGAIN)
