"""Retraining requests in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models.errors import BadInput, Busy, DefectloopError
from pipelines.ledger import promotions
from pipelines.ledger.events import APPROVED, CLOSED, STORED_CLOSED, is_stalled
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, Event, Promotion, RetrainingRequest, now

TRAINED = ("promoted", "refused", "gated")  # states of a request whose labels a model has learned


class RequestEnded(DefectloopError):
    """The request was closed, usually cancelled by a person, while a process worked on it."""

    def __init__(self, request: RetrainingRequest):
        super().__init__(
            f"Request {request.id} is {request.state}: {request.outcome}", next_step="defectloop retraining list"
        )


def decide(
    ledger: Ledger,
    line: str,
    decision: Callable[[list[RetrainingRequest]], RetrainingRequest],
    event_id: str | None = None,
) -> RetrainingRequest:
    """Let `decision` choose an existing request of the line or make a new one, in a single transaction.

    An event that a request has taken leads to that request. An open request takes all waiting events.
    """
    with ledger.writing() as session:
        event = session.get(Event, event_id) if event_id is not None else None
        if event is not None and event.request_id is not None:
            return session.get_one(RetrainingRequest, event.request_id)
        query = select(RetrainingRequest).where(RetrainingRequest.line == line).order_by(RetrainingRequest.id)
        request = decision(list(session.scalars(query)))
        session.add(request)
        session.flush()
        if event is not None:
            event.request_id = request.id
        if request.state not in CLOSED:
            free = update(Event).where(Event.line == line, Event.request_id.is_(None))
            session.execute(free.values(request_id=request.id))
    return request


def advance(ledger: Ledger, request_id: int, state: str, **values: Any) -> RetrainingRequest:
    """Bring an open request to its next state. Raises RequestEnded if it was closed meanwhile."""
    with ledger.writing() as session:
        request = session.get_one(RetrainingRequest, request_id)
        if request.state in CLOSED:
            raise RequestEnded(request)
        for name, value in {"state": state, **values}.items():
            setattr(request, name, value)
    return request


def add_training_time(ledger: Ledger, request_id: int, seconds: float) -> None:
    """Add to the time that the request has trained; it counts towards the week's budget however the request ends."""
    with ledger.writing() as session:
        request = session.get_one(RetrainingRequest, request_id)
        request.training_s = (request.training_s or 0.0) + seconds


def approve(ledger: Ledger, line: str, request_id: int, by: str, why: str) -> RetrainingRequest:
    """Let a request that waits for approval begin, and add the event that starts it. Repeated, it changes nothing."""
    with ledger.writing() as session:
        request = _of_line(session, line, request_id)
        if request.state in CLOSED:
            raise BadInput(f"Request {request_id} is {request.state}.", next_step="defectloop retraining list")
        if not request.needs_approval:
            raise BadInput(f"Request {request_id} needs no approval.", next_step="defectloop retraining list")
        if request.approved_by is None:
            request.approved_by, request.approved_because = by, why
            payload = {"request": request.id, "approved_by": by}
            session.add(
                Event(
                    id=str(uuid4()),
                    line=line,
                    name=APPROVED,
                    payload=payload,
                    happened_at=now(),
                    request_id=request.id,
                )
            )
    return request


def cancel(ledger: Ledger, line: str, request_id: int, by: str, why: str) -> RetrainingRequest:
    """Close a request and its campaign, in one transaction. A process that works on it ends at its next step.

    Raises BadInput if the request has ended, and Busy while the gate judges its version.
    """
    with ledger.writing() as session:
        request = _of_line(session, line, request_id)
        if request.state in CLOSED:
            raise BadInput(f"Request {request_id} is already {request.state}.", next_step="defectloop retraining list")
        if request.state == "gated" and request.version is None:
            raise Busy(
                f"The gate is judging the version of request {request_id}.",
                next_step="See its decision in a moment: defectloop status",
            )
        request.state, request.closed_at, request.cancelled_by = "cancelled", now(), by
        request.outcome = f"cancelled by {by}: {why}"
        asked = session.get(Campaign, request.campaign_id) if request.campaign_id is not None else None
        if asked is not None and asked.completed_at is None:
            asked.completed_at, asked.closed_by = request.closed_at, by
            asked.closed_because = f"request {request_id} was cancelled: {why}"
    return request


def expire(ledger: Ledger, line: str, oldest: datetime, because: str) -> list[int]:
    """Close requests that wait for a person since before `oldest`: for an approval, or for a decision about a version.
    Returns their ids."""
    with ledger.writing() as session:
        waiting = [item for item in _open(session, line) if awaits_person(item)]
        late = [item for item in waiting if _waiting_since(session, item) < oldest]
        for item in late:
            item.state, item.closed_at, item.outcome = "cancelled", now(), because
        return [item.id for item in late]


def _waiting_since(session: Session, request: RetrainingRequest) -> datetime:
    """Return when the gate left the decision to a person, or when the request was opened if it waits for an approval."""
    judged = select(Promotion.decided_at).where(Promotion.line == request.line, Promotion.version == request.version)
    left = session.scalars(judged.order_by(Promotion.id.desc()).limit(1)).first() if request.version else None
    return left or request.opened_at


def settle(ledger: Ledger, line: str) -> list[int]:
    """Close gated requests whose version a person has decided about since. Returns their ids."""
    decided = []
    with ledger.reading() as session:
        gated = [item for item in _open(session, line) if item.state == "gated" and item.version is not None]
    for item in gated:
        last = promotions.last(ledger, line, version=item.version)
        if last is None or last.state != "done" or last.kind not in ("promote", "refuse"):
            continue
        state = "promoted" if last.kind == "promote" else "refused"
        outcome = "; ".join(map(str, last.reasons))
        try:
            decided.append(advance(ledger, item.id, state, closed_at=last.done_at, outcome=outcome).id)
        except RequestEnded:  # another process has settled it
            continue
    return decided


def awaits_person(request: RetrainingRequest) -> bool:
    """Return whether nothing but a person's word lets the request go on: its approval, or the decision about its version."""
    if request.state == "gated":
        return request.version is not None
    return awaits_approval(request)


def awaits_approval(request: RetrainingRequest) -> bool:
    return request.state not in CLOSED and bool(request.needs_approval) and request.approved_by is None


def _of_line(session: Session, line: str, request_id: int) -> RetrainingRequest:
    request = session.get(RetrainingRequest, request_id)
    if request is None or request.line != line:
        raise BadInput(f"Line {line} has no request {request_id}.", next_step="defectloop retraining list")
    return request


def _open(session: Session, line: str) -> list[RetrainingRequest]:
    query = select(RetrainingRequest).where(
        RetrainingRequest.line == line, RetrainingRequest.state.not_in(STORED_CLOSED)
    )
    return list(session.scalars(query.order_by(RetrainingRequest.id)))


def change(ledger: Ledger, request_id: int, **values: Any) -> RetrainingRequest:
    with ledger.writing() as session:
        request = session.get_one(RetrainingRequest, request_id)
        for name, value in values.items():
            setattr(request, name, value)
    return request


def fail(ledger: Ledger, request_id: int, why: str) -> RetrainingRequest:
    """Close a request that raised an error. A closed request is not changed."""
    with ledger.writing() as session:
        request = session.get_one(RetrainingRequest, request_id)
        if request.state not in CLOSED:
            request.state, request.closed_at, request.outcome = "failed", now(), why
    return request


def get(ledger: Ledger, request_id: int) -> RetrainingRequest:
    with ledger.reading() as session:
        return session.get_one(RetrainingRequest, request_id)


def of_line(ledger: Ledger, line: str, request_id: int) -> RetrainingRequest:
    """Return a request of the line. Raises BadInput if there is none with this number."""
    with ledger.reading() as session:
        return _of_line(session, line, request_id)


def has_stalled(ledger: Ledger, line: str) -> bool:
    """Return whether a request could continue at once: it is running, or its process was killed."""
    query = (
        select(RetrainingRequest.id)
        .outerjoin(Campaign, Campaign.id == RetrainingRequest.campaign_id)
        .where(RetrainingRequest.line == line, is_stalled())
    )
    with ledger.reading() as session:
        return session.scalars(query).first() is not None


def all_of(ledger: Ledger, line: str) -> list[RetrainingRequest]:
    query = select(RetrainingRequest).where(RetrainingRequest.line == line).order_by(RetrainingRequest.id)
    with ledger.reading() as session:
        return list(session.scalars(query))
