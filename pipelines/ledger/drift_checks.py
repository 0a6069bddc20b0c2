"""Drift checks in the ledger. A drift is stored together with its event."""

from __future__ import annotations

from sqlalchemy import select

from pipelines.ledger.events import DRIFT_DETECTED
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck, Event


def add(ledger: Ledger, check: DriftCheck) -> DriftCheck:
    """Store a check and return it. If another process has stored a check of the same window, that one is returned."""
    with ledger.writing() as session:
        existing = None
        if check.last_inspection is not None:
            existing = session.scalar(
                select(DriftCheck).where(
                    DriftCheck.line == check.line,
                    DriftCheck.model_version == check.model_version,
                    DriftCheck.last_inspection == check.last_inspection,
                )
            )
        if existing is None:
            session.add(check)
            session.flush()
            if check.event_id is not None:
                session.add(_event(check, check.event_id))
    return existing or check


def of_window(ledger: Ledger, line: str, model_version: str, last_inspection: int) -> DriftCheck | None:
    """Return the check of this window, or None."""
    query = select(DriftCheck).where(
        DriftCheck.line == line,
        DriftCheck.model_version == model_version,
        DriftCheck.last_inspection == last_inspection,
    )
    with ledger.reading() as session:
        return session.scalar(query)


def of_event(ledger: Ledger, event_id: str) -> DriftCheck | None:
    """Return the check that found the drift of this event, or None if the event has another cause."""
    with ledger.reading() as session:
        return session.scalar(select(DriftCheck).where(DriftCheck.event_id == event_id))


def all_of(ledger: Ledger, line: str) -> list[DriftCheck]:
    """Return all checks of the line, oldest first."""
    with ledger.reading() as session:
        return list(session.scalars(select(DriftCheck).where(DriftCheck.line == line).order_by(DriftCheck.id)))


def latest(ledger: Ledger, line: str, model_version: str | None = None) -> DriftCheck | None:
    """Return the latest check of the line, optionally of one version."""
    query = select(DriftCheck).where(DriftCheck.line == line).order_by(DriftCheck.id.desc()).limit(1)
    if model_version is not None:
        query = query.where(DriftCheck.model_version == model_version)
    with ledger.reading() as session:
        return session.scalars(query).first()


def _event(check: DriftCheck, event_id: str) -> Event:
    return Event(
        id=event_id,
        line=check.line,
        name=DRIFT_DETECTED,
        payload={
            "drift_check": check.id,
            "share_drifted": check.share_drifted,
            "top": check.top_descriptors,
            "slice": check.slice,
            "cause": check.cause,
        },
        happened_at=check.checked_at,
    )
