"""Decisions about the champion: written down before the registry changes, marked done after it."""

from __future__ import annotations

from sqlalchemy import select

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Promotion, now


def add(ledger: Ledger, promotion: Promotion) -> Promotion:
    with ledger.writing() as session:
        session.add(promotion)
    return promotion


def mark_done(ledger: Ledger, promotion_id: int) -> None:
    with ledger.writing() as session:
        promotion = session.get_one(Promotion, promotion_id)
        promotion.state, promotion.done_at = "done", now()


def last(ledger: Ledger, line: str, *, version: str | None = None) -> Promotion | None:
    """The latest decision of the line, or about one version."""
    query = select(Promotion).where(Promotion.line == line).order_by(Promotion.id.desc()).limit(1)
    if version is not None:
        query = query.where(Promotion.version == version)
    with ledger.reading() as session:
        return session.scalar(query)


def all_of(ledger: Ledger, line: str) -> list[Promotion]:
    with ledger.reading() as session:
        return list(session.scalars(select(Promotion).where(Promotion.line == line).order_by(Promotion.id)))


def champion(ledger: Ledger, line: str) -> Promotion | None:
    """The decision that made the present champion one: its first promotion, if it came back by a rollback."""
    made = [item for item in all_of(ledger, line) if item.kind != "refuse" and item.state == "done"]
    if not made:
        return None
    return next(item for item in made if item.version == made[-1].version)
