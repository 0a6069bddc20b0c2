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
CLOSED = ("promoted", "refused", "declined", "failed")  # final states of a request


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
    """Return the condition that a request, joined with its campaign, is open and not waiting for answers."""
    return and_(
        RetrainingRequest.state.not_in(CLOSED),
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
