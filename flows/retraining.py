"""The `retraining` flow: a drift event becomes ground truth, a challenger and a recorded decision.

Whatever interrupts it, the request in the ledger knows how far it came and the next run goes on from there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from prefect import flow, runtime, task

from flows import events
from flows.training import LOCK_WAIT_S, Outcome, train_and_promote
from models import annotation_table
from pipelines import clone, retrain
from pipelines import workspace as workspaces
from pipelines.ingest import ingest, reviewed
from pipelines.ledger import requests, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import RetrainingRequest, now
from pipelines.locks import line_lock
from pipelines.retrain import Reason
from pipelines.review import campaign
from pipelines.workspace import Workspace

MANUAL = "manual"
REASONS = {MANUAL: Reason.PERSON, events.DRIFT_DETECTED: Reason.DRIFT, events.LABELS_COMPLETED: Reason.LABELS}
POLL_S = 1.0


@dataclass(frozen=True)
class Retraining:
    """Where a request stands. `state` is the ledger's word: labelling, promoted, refused or declined."""

    request_id: int
    state: str
    message: str


@flow(name="retraining", flow_run_name="retraining {workspace}")
def retraining(workspace: str, trigger: str = MANUAL, event_id: str | None = None) -> Retraining:
    """Ask for ground truth of the new production, learn from it in a clone of the workspace, and gate the result."""
    place = workspaces.at(Path(workspace))
    request = accept(place, trigger, event_id)
    if request.state in requests.CLOSED:
        return Retraining(request.id, request.state, f"Request {request.id} is {request.state}: {request.outcome}")
    asked = ask_for_labels(place, request)
    if not wait_for_labels(place, asked):
        return Retraining(request.id, "labelling", f"Campaign {asked} waits for ground truth: defectloop review")
    with line_lock(place, request.line, LOCK_WAIT_S):  # nobody takes a snapshot between our clone and our tag
        copy = take_clone(place)
        ingest_labels(copy)
        outcome = train_and_promote(copy)
        publish(place, copy)
    return close(place, request, outcome)


@task
def accept(workspace: Workspace, trigger: str, event_id: str | None) -> RetrainingRequest:
    params = workspace.params()
    with Ledger.open(workspace.ledger_url) as ledger:
        return retrain.request(
            ledger,
            params.line,
            params.retrain,
            reason=REASONS[trigger],
            trigger=trigger,
            event_id=event_id,
            flow_run_id=runtime.flow_run.id,
        )


@task
def ask_for_labels(workspace: Workspace, request: RetrainingRequest) -> int:
    """The request's campaign, opened when it has none yet."""
    if request.campaign_id is not None:
        return request.campaign_id
    with Ledger.open(workspace.ledger_url) as ledger:
        opened = campaign.open_campaign(workspace, ledger, workspace.params().retrain.labels, request.id)
    return opened.id


@task
def wait_for_labels(workspace: Workspace, campaign_id: int) -> bool:
    """Whether the campaign is complete, within the time that `retrain.wait_for_labels_s` gives it."""
    deadline = time.monotonic() + workspace.params().retrain.wait_for_labels_s
    with Ledger.open(workspace.ledger_url) as ledger:
        while reviews.campaign(ledger, campaign_id).completed_at is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
    return True


@task
def take_clone(workspace: Workspace) -> Workspace:
    return clone.take_clone(workspace)


@task
def ingest_labels(workspace: Workspace) -> int:
    """Take in every completed campaign of the line; what is there already is not added again."""
    line = workspace.params().line
    with Ledger.open(workspace.ledger_url) as ledger:
        for completed in reviews.completed(ledger, line):
            ingest.take_in(workspace, reviewed.read(workspace, ledger, completed.id))
    return annotation_table.load(workspace.annotations).num_rows


@task
def publish(workspace: Workspace, copy: Workspace) -> str:
    return clone.publish(workspace, copy)


@task
def close(workspace: Workspace, request: RetrainingRequest, outcome: Outcome) -> Retraining:
    state = "promoted" if outcome.promoted else "refused"
    said = "; ".join(outcome.reasons)
    with Ledger.open(workspace.ledger_url) as ledger:
        kept = requests.all_of(ledger, workspace.params().line)
        campaign_id = next(item.campaign_id for item in kept if item.id == request.id)
        labels = len(reviews.of_campaign(ledger, campaign_id)) if campaign_id is not None else 0
        requests.change(
            ledger,
            request.id,
            state=state,
            closed_at=now(),
            new_labels=labels,
            snapshot=outcome.snapshot,
            version=outcome.version,
            outcome=said,
        )
    return Retraining(request.id, state, f"Version {outcome.version} from {labels} new labels was {state}: {said}")
