"""Retraining requests in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select, update

from pipelines.ledger.events import CLOSED, is_stalled
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, Event, RetrainingRequest, now

TRAINED = ("promoted", "refused")  # final states of a request that trained a model


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
