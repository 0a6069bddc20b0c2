"""Parts that the line declared complete, with the views that it expected of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import PartCompletion, now


def add(ledger: Ledger, line: str, part: str, expected: list[Any]) -> PartCompletion:
    """Store that a part is complete. Repeating the latest declaration adds nothing."""
    with ledger.writing() as session:
        query = select(PartCompletion).where(PartCompletion.line == line, PartCompletion.part == part)
        latest = session.scalars(query.order_by(PartCompletion.id.desc()).limit(1)).first()
        if latest is not None and latest.expected == expected:
            return latest
        declared = PartCompletion(line=line, part=part, expected=expected, completed_at=now())
        session.add(declared)
    return declared


def latest(ledger: Ledger, line: str, part: str) -> PartCompletion | None:
    query = select(PartCompletion).where(PartCompletion.line == line, PartCompletion.part == part)
    with ledger.reading() as session:
        return session.scalars(query.order_by(PartCompletion.id.desc()).limit(1)).first()
