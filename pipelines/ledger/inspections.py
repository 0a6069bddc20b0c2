"""Inspections and rejections in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import make_transient

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection, Rejection

T = TypeVar("T")
_AT_ONCE = 500  # bound parameters of one statement


def add(ledger: Ledger, records: Sequence[Inspection | Rejection]) -> None:
    """Write them in one transaction: all are on the disk when this returns, or none."""
    with ledger.writing() as session:
        session.add_all(records)


def add_new(ledger: Ledger, entries: Sequence[T], record_of: Callable[[T], Inspection | Rejection]) -> list[T]:
    """Write those that the ledger does not know, and return them: another process may have been faster with some."""
    left = list(entries)
    while True:
        try:
            add(ledger, [record_of(entry) for entry in left])
            return left
        except IntegrityError:
            there = known(ledger, record_of(left[0]).line, [record_of(entry).request_id for entry in left])
            if not there:
                raise  # it is something else
            for entry in left:
                make_transient(record_of(entry))
            left = [entry for entry in left if record_of(entry).request_id not in there]


def known(ledger: Ledger, line: str, request_ids: Collection[str]) -> set[str]:
    """Those of `request_ids` that have an inspection or a rejection on the line."""
    ids = list(request_ids)
    found: set[str] = set()
    with ledger.reading() as session:
        for start in range(0, len(ids), _AT_ONCE):
            block = ids[start : start + _AT_ONCE]
            for table in (Inspection, Rejection):
                asked = select(table.request_id).where(table.line == line, table.request_id.in_(block))
                found |= set(session.scalars(asked))
    return found


def latest(ledger: Ledger, line: str, n: int, *, artefact_sha256: str | None = None) -> list[Inspection]:
    """The last `n` inspections of the line, oldest first; only those by one model where one is named."""
    query = select(Inspection).where(Inspection.line == line).order_by(Inspection.id.desc()).limit(n)
    if artefact_sha256 is not None:
        query = query.where(Inspection.artefact_sha256 == artefact_sha256)
    with ledger.reading() as session:
        return list(reversed(session.scalars(query).all()))


def of_latest_parts(ledger: Ledger, line: str, n: int, *, artefact_sha256: str) -> list[Inspection]:
    """The inspections by one model of the last `n` parts of the line, oldest first: every image of a part, as far as no
    older part lies between."""
    query = (
        select(Inspection)
        .where(Inspection.line == line, Inspection.artefact_sha256 == artefact_sha256)
        .order_by(Inspection.id.desc())
        .execution_options(yield_per=_AT_ONCE)
    )
    parts: set[str] = set()
    found = []
    with ledger.reading() as session:
        for item in session.scalars(query):
            if item.part not in parts and len(parts) == n:
                break
            parts.add(item.part)
            found.append(item)
    return found[::-1]


def of_part(ledger: Ledger, line: str, part: str) -> list[Inspection]:
    query = select(Inspection).where(Inspection.line == line, Inspection.part == part).order_by(Inspection.id)
    with ledger.reading() as session:
        return list(session.scalars(query))


def count(ledger: Ledger, line: str) -> dict[str, int]:
    """Inspections of the line by verdict."""
    query = select(Inspection.verdict, func.count()).where(Inspection.line == line).group_by(Inspection.verdict)
    with ledger.reading() as session:
        return {str(verdict): int(n) for verdict, n in session.execute(query)}
