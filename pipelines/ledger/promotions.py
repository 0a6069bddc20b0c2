"""Decisions about the champion. They are stored before the registry changes, and marked as done afterwards."""

from __future__ import annotations

from sqlalchemy import select

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Promotion, now

CHANGES = ("promote", "rollback")  # kinds of decisions that change the champion
WAIT = "wait"  # the version passed the gate, but a person has to accept it first


def add(ledger: Ledger, promotion: Promotion) -> Promotion:
    with ledger.writing() as session:
        session.add(promotion)
    return promotion


def close(ledger: Ledger, promotion: Promotion, state: str) -> None:
    """Set the final state of a decision: `done` or `overtaken`."""
    with ledger.writing() as session:
        kept = session.get_one(Promotion, promotion.id)
        kept.state, kept.done_at = promotion.state, promotion.done_at = state, now()


def pending(ledger: Ledger, line: str) -> list[Promotion]:
    """Return the decisions that are not carried out yet, oldest first: in progress, or left by a killed process."""
    query = select(Promotion).where(Promotion.line == line, Promotion.state == "pending").order_by(Promotion.id)
    with ledger.reading() as session:
        return list(session.scalars(query))


def last(ledger: Ledger, line: str, *, version: str | None = None) -> Promotion | None:
    """Return the latest decision of the line, optionally about one version."""
    query = select(Promotion).where(Promotion.line == line).order_by(Promotion.id.desc()).limit(1)
    if version is not None:
        query = query.where(Promotion.version == version)
    with ledger.reading() as session:
        return session.scalar(query)


def all_of(ledger: Ledger, line: str) -> list[Promotion]:
    with ledger.reading() as session:
        return list(session.scalars(select(Promotion).where(Promotion.line == line).order_by(Promotion.id)))


def champion(ledger: Ledger, line: str) -> Promotion | None:
    """Return the first promotion of the present champion, also if it returned by a rollback."""
    made = [item for item in all_of(ledger, line) if item.kind in CHANGES and item.state == "done"]
    if not made:
        return None
    return next(item for item in made if item.version == made[-1].version)
