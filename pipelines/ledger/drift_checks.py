"""Drift checks in the ledger, and which of them still have to be announced."""

from __future__ import annotations

from sqlalchemy import select

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck, now


def add(ledger: Ledger, check: DriftCheck) -> DriftCheck:
    """Keep a check. A judged window is kept once: if another process was faster, its check is the one returned."""
    with ledger.writing() as session:
        there = None
        if check.last_inspection is not None:
            there = session.scalar(
                select(DriftCheck).where(
                    DriftCheck.line == check.line,
                    DriftCheck.model_version == check.model_version,
                    DriftCheck.last_inspection == check.last_inspection,
                )
            )
        if there is None:
            session.add(check)
    return there or check


def of_window(ledger: Ledger, line: str, model_version: str, last_inspection: int) -> DriftCheck | None:
    """The check of exactly this window, None when it was not checked yet."""
    query = select(DriftCheck).where(
        DriftCheck.line == line,
        DriftCheck.model_version == model_version,
        DriftCheck.last_inspection == last_inspection,
    )
    with ledger.reading() as session:
        return session.scalar(query)


def unannounced(ledger: Ledger, line: str) -> list[DriftCheck]:
    query = select(DriftCheck).where(
        DriftCheck.line == line, DriftCheck.drifted, DriftCheck.announced_at.is_(None), DriftCheck.event_id.is_not(None)
    )
    with ledger.reading() as session:
        return list(session.scalars(query.order_by(DriftCheck.id)))


def mark_announced(ledger: Ledger, check_id: int) -> None:
    with ledger.writing() as session:
        session.get_one(DriftCheck, check_id).announced_at = now()


def all_of(ledger: Ledger, line: str) -> list[DriftCheck]:
    """Every check of the line, oldest first."""
    with ledger.reading() as session:
        return list(session.scalars(select(DriftCheck).where(DriftCheck.line == line).order_by(DriftCheck.id)))
