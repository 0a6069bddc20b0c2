"""The `retraining` flow: a drift event becomes ground truth, a challenger and a recorded decision.

Whatever interrupts it, the request in the ledger knows how far it came and the next run goes on from there. What raises an
error is different: it would raise it again. Its request has failed, and a person or a later drift starts a new one.

One run works on a line at a time. The kernel's lock says so, not Prefect, whose slots a killed runner keeps for ever.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from prefect import flow, runtime, task

from flows import attached
from flows.training import LOCK_WAIT_S, Outcome, train_and_promote
from models.errors import Busy, DefectloopError, NotReady
from pipelines import workspace as workspaces
from pipelines.ingest import ingest
from pipelines.ledger import campaigns, events, requests, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, RetrainingRequest, now
from pipelines.locks import line_lock, retraining_lock
from pipelines.retraining import clone, retrain
from pipelines.retraining.retrain import Reason
from pipelines.review import campaign, reviewed
from pipelines.workspace import Workspace

MANUAL = "manual"
REASONS = {MANUAL: Reason.PERSON, events.DRIFT_DETECTED: Reason.DRIFT, events.LABELS_COMPLETED: Reason.LABELS}
POLL_S = 1.0


@dataclass(frozen=True)
class Retraining:
    """Where a request stands. `state` is the ledger's word: labelling, promoted, refused, declined or failed."""

    request_id: int
    state: str
    message: str


@flow(name="retraining", flow_run_name="retraining {workspace}")
def retraining(workspace: str, trigger: str = MANUAL, event_id: str | None = None) -> Retraining:
    """Ask for ground truth of the new production, learn from it in a clone of the workspace, and gate the result."""
    attached.end_with_runner()
    place = workspaces.at(Path(workspace))
    request = accept(place, trigger, event_id)
    while request.state not in events.CLOSED:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(retraining_lock(place, request.line))
            except Busy as busy:  # that run goes on with whatever the ledger holds, our event included
                return Retraining(request.id, request.state, f"Request {request.id} is worked on. {busy.message}")
            reached = work_on(place, request.id)
        if reached.state != "labelling" or still_waits(place, request.id):
            return reached
        # The last label came while this run stopped to wait for it, and the run that it started met our lock.
        request = look_again(place, request.id)
    return standing(request)


def work_on(place: Workspace, request_id: int) -> Retraining:
    request = look_again(place, request_id)  # another run may have ended it before we had the lock
    try:
        return standing(request) if request.state in events.CLOSED else go_on(place, request)
    except (Busy, httpx.HTTPError):  # somebody works on the line's data, or Prefect died: the request is taken up again
        raise
    except Exception as error:
        fail(place, request, error)
        raise


def go_on(place: Workspace, request: RetrainingRequest) -> Retraining:
    """From wherever the request stands to its end, or to the labels that it waits for."""
    asked = ask_for_labels(place, request)
    if asked is not None and not wait_for_labels(place, asked):
        return Retraining(request.id, "labelling", f"Campaign {asked} waits for ground truth: defectloop review")
    present = look_again(place, request.id)
    if present.state in events.CLOSED:  # its campaign ended without a label
        return standing(present)
    with line_lock(place, request.line, LOCK_WAIT_S):  # nobody takes a snapshot between our clone and our tag
        copy = take_clone(place)
        ingest_labels(copy, request)
        outcome = train_and_promote(copy)
        publish(place, copy)
    return close(place, request, outcome)


def standing(request: RetrainingRequest) -> Retraining:
    return Retraining(request.id, request.state, f"Request {request.id} is {request.state}: {request.outcome}")


@task
def accept(workspace: Workspace, trigger: str, event_id: str | None) -> RetrainingRequest:
    """The request that the event leads to; from now on the ledger knows that somebody answers for the event."""
    params = workspace.params()
    with Ledger.open(workspace.ledger_url) as ledger:
        campaign.end_expired(ledger, params.line, params.retrain)
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
def ask_for_labels(workspace: Workspace, request: RetrainingRequest) -> int | None:
    """The request's campaign, opened when it has none yet; None where people judged parts and nothing is left to ask."""
    if request.campaign_id is not None or request.state == "training":
        return request.campaign_id
    with Ledger.open(workspace.ledger_url) as ledger:
        try:
            opened: Campaign = campaign.open_campaign(workspace, ledger, workspace.params().retrain.labels, request.id)
        except NotReady:
            if not reviews.unlearned(ledger, request.line):
                raise
            return None
    return opened.id


@task
def wait_for_labels(workspace: Workspace, campaign_id: int) -> bool:
    """Whether the campaign has ended, within the time that `retrain.wait_for_labels_s` gives it."""
    rules = workspace.params().retrain
    deadline = time.monotonic() + rules.wait_for_labels_s
    with Ledger.open(workspace.ledger_url) as ledger:
        while campaigns.is_open(ledger, campaign_id):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
    return True


@task
def look_again(workspace: Workspace, request_id: int) -> RetrainingRequest:
    with Ledger.open(workspace.ledger_url) as ledger:
        return requests.get(ledger, request_id)


@task
def still_waits(workspace: Workspace, request_id: int) -> bool:
    """Whether the request waits for people, so that nothing can be done before their answers are in."""
    with Ledger.open(workspace.ledger_url) as ledger:
        campaign_id = requests.get(ledger, request_id).campaign_id
        return campaign_id is not None and campaigns.is_open(ledger, campaign_id)


@task
def take_clone(workspace: Workspace) -> Workspace:
    return clone.take_clone(workspace)


@task
def ingest_labels(workspace: Workspace, request: RetrainingRequest) -> int:
    """Take in what people last said about every part; what is there already is not added again."""
    with Ledger.open(workspace.ledger_url) as ledger:
        newest = reviews.newest(ledger, request.line)  # before they are read: a later one is learned from next time
        new_labels = reviews.unlearned(ledger, request.line)
        for source in reviewed.read(workspace, ledger):
            ingest.take_in(workspace, source)
        requests.change(ledger, request.id, state="training", last_review=newest, new_labels=new_labels)
    return new_labels


@task
def publish(workspace: Workspace, copy: Workspace) -> str:
    return clone.publish(workspace, copy)


@task
def close(workspace: Workspace, request: RetrainingRequest, outcome: Outcome) -> Retraining:
    state = "promoted" if outcome.promoted else "refused"
    reasons = "; ".join(outcome.reasons)
    with Ledger.open(workspace.ledger_url) as ledger:
        ended = requests.change(
            ledger,
            request.id,
            state=state,
            closed_at=now(),
            snapshot=outcome.snapshot,
            version=outcome.version,
            outcome=reasons,
        )
    labels = ended.new_labels
    return Retraining(request.id, state, f"Version {outcome.version} from {labels} new labels was {state}: {reasons}")


@task
def fail(workspace: Workspace, request: RetrainingRequest, error: Exception) -> RetrainingRequest:
    """Keep why the request failed, unless another run brought it to its end meanwhile."""
    with Ledger.open(workspace.ledger_url) as ledger:
        return requests.fail(ledger, request.id, reason_of(error))


def reason_of(error: Exception) -> str:
    """An error in one sentence."""
    if isinstance(error, DefectloopError):
        return error.message
    return f"{type(error).__name__}: {(str(error).strip() or 'without a message').splitlines()[0]}"
