"""Decisions about the champion. They are stored before the registry changes, and marked as done afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from models.errors import Busy
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Promotion, now

CHANGES = ("promote", "rollback")  # kinds of decisions that change the champion
WAIT = "wait"  # the version passed the gate, but a person has to accept it first


class Overtaken(Busy):
    """Another process has decided about the line's champion since this one began."""


def add(ledger: Ledger, promotion: Promotion) -> Promotion:
    """Store a decision that `follows` the newest one. Raises Overtaken if that is no longer the newest."""
    with in_turn(promotion.line), ledger.writing() as session:
        session.add(promotion)
    return promotion


@contextlib.contextmanager
def in_turn(line: str) -> Iterator[None]:
    """Turn a conflict with another decision into Overtaken. Two decisions cannot follow the same one, on whatever hosts
    they are made: the ledger's unique index is the comparison and the swap in one."""
    try:
        yield
    except IntegrityError as error:
        if "follows" not in str(error.orig):
            raise
        raise Overtaken(
            f"Another process has just decided about the champion of line {line}.",
            next_step="Look at defectloop status, then run the same command again.",
        ) from error


def newest(ledger: Ledger, line: str) -> int:
    """Return the number of the line's newest decision, 0 without one: what the next decision follows."""
    found = last(ledger, line)
    return found.id if found else 0


def close(ledger: Ledger, promotion: Promotion, state: str) -> None:
    """Set the final state of a decision, `done` or `overtaken`, unless another process has set one."""
    with ledger.writing() as session:
        kept = session.get_one(Promotion, promotion.id)
        if kept.state == "pending":
            kept.state, kept.done_at = state, now()
        promotion.state, promotion.done_at = kept.state, kept.done_at


def newest_change(ledger: Ledger, line: str) -> Promotion | None:
    """Return the newest decision that changes the champion, done or pending."""
    query = select(Promotion).where(Promotion.line == line, Promotion.kind.in_(CHANGES), Promotion.state != "overtaken")
    with ledger.reading() as session:
        return session.scalar(query.order_by(Promotion.id.desc()).limit(1))


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
