"""Retraining requests in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import RetrainingRequest

CLOSED = ("promoted", "refused", "declined")


def decide(
    ledger: Ledger, line: str, decision: Callable[[list[RetrainingRequest]], RetrainingRequest]
) -> RetrainingRequest:
    """Let `decision` see every request of the line and return one of them or a new one, in a single transaction."""
    with ledger.writing() as session:
        query = select(RetrainingRequest).where(RetrainingRequest.line == line).order_by(RetrainingRequest.id)
        request = decision(list(session.scalars(query)))
        session.add(request)
    return request


def change(ledger: Ledger, request_id: int, **values: Any) -> RetrainingRequest:
    with ledger.writing() as session:
        request = session.get_one(RetrainingRequest, request_id)
        for name, value in values.items():
            setattr(request, name, value)
    return request


def all_of(ledger: Ledger, line: str) -> list[RetrainingRequest]:
    query = select(RetrainingRequest).where(RetrainingRequest.line == line).order_by(RetrainingRequest.id)
    with ledger.reading() as session:
        return list(session.scalars(query))
