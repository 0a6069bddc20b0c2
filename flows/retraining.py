"""The `retraining` flow: collect ground truth after a drift, train a challenger, and record the gate's decision.

The state of each request is in the ledger, so an interrupted run is continued by the next one. A request that raised an
error is closed as failed, because it would fail again; a person or a later drift starts a new one.

Only one run works on a line at a time. A kernel lock ensures that; a killed runner would hold Prefect's slot forever.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from prefect import flow, runtime, task

from flows import attached, run_log, titles
from flows.training import LOCK_WAIT_S, Outcome, train_and_promote
from models.errors import Busy, DefectloopError, NotReady
from pipelines import workspace as workspaces
from pipelines.ingest import ingest
from pipelines.ledger import campaigns, drift_checks, events, requests, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.requests import RequestEnded
from pipelines.ledger.tables import Campaign, RetrainingRequest, now
from pipelines.locks import line_lock, retraining_lock
from pipelines.retraining import clone, policy, retrain
from pipelines.retraining.policy import Reason
from pipelines.review import campaign, reviewed
from pipelines.workspace import Workspace

MANUAL = "manual"
REASONS = {
    MANUAL: Reason.PERSON,
    events.DRIFT_DETECTED: Reason.DRIFT,
    events.PERFORMANCE_BELOW_FLOOR: Reason.PERFORMANCE,
    events.ENOUGH_LABELS: Reason.ENOUGH_LABELS,
    events.SCHEDULED: Reason.SCHEDULE,
    events.LABELS_COMPLETED: Reason.LABELS,
    events.APPROVED: Reason.LABELS,
}
TITLES = {
    Reason.PERFORMANCE: "measured performance below its floor",
    Reason.ENOUGH_LABELS: "enough new labels",
    Reason.SCHEDULE: "by its schedule",
}
POLL_S = 1.0


@dataclass(frozen=True)
class Retraining:
    """State of a request as in the ledger (`pipelines.ledger.events`), with a message for people."""

    request_id: int
    state: str
    message: str


@flow(name="retraining", flow_run_name=titles.of_new_run)
def retraining(workspace: str, trigger: str = MANUAL, event_id: str | None = None) -> Retraining:
    """Ask for labels of new production, train on them in a clone of the workspace, and run the result through the gate."""
    attached.end_with_runner()
    place = workspaces.at(Path(workspace))
    request = accept(place, trigger, event_id)
    titles.rename_run(title_of(place, request))
    while request.state not in events.CLOSED:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(retraining_lock(place, request.line))
            except Busy as busy:  # the other run continues with everything in the ledger, including our event
                return Retraining(request.id, request.state, f"Request {request.id} is in progress. {busy.message}")
            reached = work_on(place, request.id)
        run_log.tell(reached.message)
        if reached.state != "awaiting_labels" or still_waits(place, request.id):
            return reached
        # The last label arrived just after this run stopped waiting, and the run that it triggered found our lock taken.
        request = look_again(place, request.id)
    return state_of(request)


def work_on(place: Workspace, request_id: int) -> Retraining:
    request = look_again(place, request_id)  # another run may have closed it before we got the lock
    try:
        return state_of(request) if request.state in events.CLOSED else continue_request(place, request)
    except RequestEnded:  # a person cancelled it; everything that was made so far is kept and decides nothing
        return state_of(look_again(place, request_id))
    except (Busy, httpx.HTTPError):  # the line's data is in use, or Prefect died: a later run continues the request
        raise
    except Exception as error:
        fail(place, request, error)
        raise


def continue_request(place: Workspace, request: RetrainingRequest) -> Retraining:
    """Continue the request from its present state until it is closed or has to wait for labels."""
    if requests.awaits_person(request):
        return state_of(request)
    asked = ask_for_labels(place, request)
    if asked is not None and not wait_for_labels(place, asked):
        return Retraining(request.id, "awaiting_labels", f"Campaign {asked} waits for labels: defectloop review")
    present = look_again(place, request.id)
    if present.state in events.CLOSED:  # the campaign ended without any label, or a person cancelled the request
        return state_of(present)
    too_few = labels_missing(place, present)
    if too_few:
        return state_of(end_without_training(place, present, too_few))
    with line_lock(place, request.line, LOCK_WAIT_S):  # no other snapshot may be taken between our clone and our tag
        begun = time.monotonic()
        try:
            copy = take_clone(place)
            ingest_labels(copy, request)
            outcome = train_and_promote(
                copy,
                triggered_slices=triggered_slices(place, request),
                trigger=title_of(place, request),
                before_step=lambda step: before(place, request.id, step),
            )
            publish(place, copy)
        finally:
            add_training_time(place, request.id, time.monotonic() - begun)
    return close(place, request, outcome)


def triggered_slices(place: Workspace, request: RetrainingRequest) -> tuple[str, ...]:
    """Return the slice whose drift led to the request, which the new version has to improve; none if it is not known."""
    with Ledger.open(place.ledger_url) as ledger:
        check = drift_checks.of_event(ledger, request.event_id) if request.event_id else None
    return (check.slice,) if check is not None and check.slice else ()


def title_of(place: Workspace, request: RetrainingRequest) -> str:
    """Return what a retraining is called in Prefect and MLflow: `retraining 1, drift of poly`."""
    with Ledger.open(place.ledger_url) as ledger:
        check = drift_checks.of_event(ledger, request.event_id) if request.event_id else None
    if check is None:
        return f"retraining {request.id}, {TITLES.get(REASONS.get(request.trigger, Reason.PERSON), 'asked for by a person')}"
    return f"retraining {request.id}, drift" + (f" of {check.slice}" if check.slice else "")


def state_of(request: RetrainingRequest) -> Retraining:
    if requests.awaits_approval(request):
        said = f"Request {request.id} waits for approval: defectloop retraining approve {request.id}"
    else:
        said = f"Request {request.id} is {request.state}: {request.outcome}"
    return Retraining(request.id, request.state, said)


def before(workspace: Workspace, request_id: int, step: str) -> None:
    """Record that the request has come to this step of the training. Raises RequestEnded if a person has cancelled it.

    From the beginning of the gate on it cannot be cancelled, until the gate has answered.
    """
    with Ledger.open(workspace.ledger_url) as ledger:
        requests.advance(ledger, request_id, "gated" if step == "promote" else "training")


@task
def accept(workspace: Workspace, trigger: str, event_id: str | None) -> RetrainingRequest:
    """Return the request that the event leads to, and record in the ledger that the request has taken the event."""
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
    """Return the id of the request's campaign, opening one if needed. None if no part is left to ask about and labels
    from reviews wait for a training."""
    if request.campaign_id is not None or request.state in ("training", "gated"):
        return request.campaign_id
    if REASONS.get(request.trigger) is Reason.ENOUGH_LABELS:
        return None
    rules = workspace.params().retrain
    with Ledger.open(workspace.ledger_url) as ledger:
        budget = rules.labels
        if REASONS.get(request.trigger) is not Reason.PERSON:
            budget = min(budget, policy.labels_left(retrain.facts(ledger, request.line, ()), rules))
        try:
            if budget == 0:
                raise NotReady(
                    "The labels of seven days are used up.",
                    next_step="Raise retrain.labels_per_week, or ask by hand: defectloop retrain",
                )
            opened: Campaign = campaign.open_campaign(workspace, ledger, budget, request.id)
        except NotReady:
            if not reviews.unlearned(ledger, request.line):
                raise
            return None
    return opened.id


@task
def wait_for_labels(workspace: Workspace, campaign_id: int) -> bool:
    """Wait up to `retrain.wait_for_labels_s` for the end of the campaign. Returns whether it has ended."""
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
    """Return whether the request has an open campaign and so cannot continue before people answer."""
    with Ledger.open(workspace.ledger_url) as ledger:
        campaign_id = requests.get(ledger, request_id).campaign_id
        return campaign_id is not None and campaigns.is_open(ledger, campaign_id)


@task
def labels_missing(workspace: Workspace, request: RetrainingRequest) -> str:
    """Return why the new labels are too few to train on, or "". A person's request and one that trains go on."""
    if REASONS.get(request.trigger) is Reason.PERSON or request.state in ("training", "gated"):
        return ""
    with Ledger.open(workspace.ledger_url) as ledger:
        return policy.too_few_labels(retrain.facts(ledger, request.line, ()), workspace.params().retrain)


@task
def end_without_training(workspace: Workspace, request: RetrainingRequest, why: str) -> RetrainingRequest:
    with Ledger.open(workspace.ledger_url) as ledger:
        return requests.advance(ledger, request.id, "cancelled", closed_at=now(), outcome=why)


@task
def add_training_time(workspace: Workspace, request_id: int, seconds: float) -> None:
    with Ledger.open(workspace.ledger_url) as ledger:
        requests.add_training_time(ledger, request_id, seconds)


@task
def take_clone(workspace: Workspace) -> Workspace:
    return clone.take_clone(workspace)


@task
def ingest_labels(workspace: Workspace, request: RetrainingRequest) -> int:
    """Ingest the latest label of every reviewed part. Labels that the data already has are not added again."""
    with Ledger.open(workspace.ledger_url) as ledger:
        newest = reviews.newest(ledger, request.line)  # read first: later reviews belong to the next retraining
        new_labels = reviews.unlearned(ledger, request.line, request.id)
        for source in reviewed.read(workspace, ledger):
            ingest.take_in(workspace, source)
        requests.advance(ledger, request.id, "training", last_review=newest, new_labels=new_labels)
    return new_labels


@task
def publish(workspace: Workspace, copy: Workspace) -> str:
    return clone.publish(workspace, copy)


@task
def close(workspace: Workspace, request: RetrainingRequest, outcome: Outcome) -> Retraining:
    state = "promoted" if outcome.promoted else "refused" if outcome.refused else "gated"
    reasons = "; ".join(outcome.reasons)
    with Ledger.open(workspace.ledger_url) as ledger:
        ended = requests.change(
            ledger,
            request.id,
            state=state,
            closed_at=None if state == "gated" else now(),
            snapshot=outcome.snapshot,
            version=outcome.version,
            outcome=reasons,
        )
    result = "waits for a person" if state == "gated" else f"was {state}"
    made = f"Version {outcome.version} from {ended.new_labels} new labels"
    return Retraining(request.id, state, f"{made} {result}: {reasons}")


@task
def fail(workspace: Workspace, request: RetrainingRequest, error: Exception) -> RetrainingRequest:
    """Record why the request failed, unless another run has closed it meanwhile."""
    with Ledger.open(workspace.ledger_url) as ledger:
        return requests.fail(ledger, request.id, reason_of(error))


def reason_of(error: Exception) -> str:
    """Return the error as one sentence."""
    if isinstance(error, DefectloopError):
        return error.message
    return f"{type(error).__name__}: {(str(error).strip() or 'without a message').splitlines()[0]}"
