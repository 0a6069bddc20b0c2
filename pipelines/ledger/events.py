"""What has to start a retraining or to go on with one: kept here until a request of the ledger answers for it."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, Event, RetrainingRequest, now

DRIFT_DETECTED = "defectloop.drift.detected"
LABELS_COMPLETED = "defectloop.labels.completed"
CLOSED = ("promoted", "refused", "declined", "failed")  # states of a request that nothing follows


def waiting(ledger: Ledger, line: str) -> list[Event]:
    """Events that have to be sent, oldest first: those that no request took up yet, and one for every request that stands
    still although nothing keeps it (its flow was killed, or was never started)."""
    free = select(Event).where(Event.line == line, Event.request_id.is_(None)).order_by(Event.happened_at)
    standing = (
        select(Event)
        .join(RetrainingRequest, RetrainingRequest.id == Event.request_id)
        .outerjoin(Campaign, Campaign.id == RetrainingRequest.campaign_id)
        .where(Event.line == line, stands_still())
        .order_by(Event.happened_at)
    )
    with ledger.reading() as session:
        latest = {event.request_id: event for event in session.scalars(standing)}
        return [*session.scalars(free), *latest.values()]


def stands_still() -> ColumnElement[bool]:
    """Of a request, joined with its campaign: it has no end yet, and waits for nobody's answers."""
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
    """In the transaction that ends the campaign: the request that waits for it is to go on."""
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
