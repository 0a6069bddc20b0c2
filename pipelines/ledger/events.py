"""Events that start or continue a retraining. They are stored until a retraining request takes them."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, Event, RetrainingRequest, now

DRIFT_DETECTED = "defectloop.drift.detected"
LABELS_COMPLETED = "defectloop.labels.completed"
PERFORMANCE_BELOW_FLOOR = "defectloop.performance.below_floor"
ENOUGH_LABELS = "defectloop.labels.enough"
SCHEDULED = "defectloop.retraining.scheduled"
APPROVED = "defectloop.retraining.approved"
STARTING = (DRIFT_DETECTED, LABELS_COMPLETED, PERFORMANCE_BELOW_FLOOR, ENOUGH_LABELS, SCHEDULED, APPROVED)
OPEN = ("requested", "awaiting_labels", "training", "gated")  # states of a request that has not ended
CLOSED = ("promoted", "refused", "cancelled", "failed")  # final states of a request
STORED_CLOSED = (*CLOSED, "declined")  # with the word of older releases, for queries


def waiting(ledger: Ledger, line: str) -> list[Event]:
    """Return the events to send, oldest first: those that no request has taken, and one for every stalled request, whose
    flow was killed or never started."""
    free = select(Event).where(Event.line == line, Event.request_id.is_(None)).order_by(Event.happened_at)
    of_stalled = (
        select(Event)
        .join(RetrainingRequest, RetrainingRequest.id == Event.request_id)
        .outerjoin(Campaign, Campaign.id == RetrainingRequest.campaign_id)
        .where(Event.line == line, is_stalled())
        .order_by(Event.happened_at)
    )
    with ledger.reading() as session:
        latest = {event.request_id: event for event in session.scalars(of_stalled)}
        return [*session.scalars(free), *latest.values()]


def is_stalled() -> ColumnElement[bool]:
    """Return the condition that a request, joined with its campaign, is open and waits for no person: neither for answers
    nor for an approval, nor for the decision about a version that the gate left to a person."""
    return and_(
        RetrainingRequest.state.not_in(STORED_CLOSED),
        or_(RetrainingRequest.state != "gated", RetrainingRequest.version.is_(None)),
        or_(RetrainingRequest.needs_approval.is_not(True), RetrainingRequest.approved_by.is_not(None)),
        or_(RetrainingRequest.campaign_id.is_(None), Campaign.completed_at.is_not(None)),
    )


def mark_sent(ledger: Ledger, event_id: str) -> None:
    with ledger.writing() as session:
        session.get_one(Event, event_id).sent_at = now()


def add_labels_completed(
    session: Session, request: RetrainingRequest, *, campaign_id: int, labelled: int, at: datetime
) -> None:
    """Add the event that lets the waiting request continue, in the transaction that ends the campaign."""
    session.add(
        Event(
            id=str(uuid4()),
            line=request.line,
            name=LABELS_COMPLETED,
            payload={"campaign": campaign_id, "labelled": labelled},
            happened_at=at,
            request_id=request.id,
        )
    )


def add_once(ledger: Ledger, line: str, name: str, event_id: str) -> Event:
    """Store the event, unless one with its id is stored already."""
    with ledger.writing() as session:
        event = session.get(Event, event_id)
        if event is None:
            event = Event(id=event_id, line=line, name=name, payload={}, happened_at=now())
            session.add(event)
    return event
