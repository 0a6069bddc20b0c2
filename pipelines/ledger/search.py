"""Searches the inspections of a line page by page, newest first.

One index holds all that can be searched for, so inspections that do not match are passed over without reading their rows. A
page looks at no more than `SCANNED`: where matches are rare, it may be short or empty and have a cursor to go on with.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session, defer

from models.errors import BadInput
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection

SCANNED = 25_000  # inspections that one page passes over at most
LARGEST = 500  # inspections on one page
_ROWS = select(Inspection).options(defer(Inspection.descriptors, raiseload=True))  # half of a row, which no page shows


@dataclass(frozen=True)
class Filters:
    """What is searched for; None: anything. `since` is included, `until` not: times of inspection, with a zone."""

    part: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    verdict: str | None = None
    model_version: str | None = None
    slice: str | None = None


@dataclass(frozen=True)
class Found:
    """One page, without the descriptors. `next` is the cursor of the next one, or None if there are no more."""

    inspections: list[Inspection]
    next: str | None


def search(ledger: Ledger, line: str, filters: Filters, cursor: str | None = None, limit: int = 50) -> Found:
    """Return up to `limit` inspections, newest first, and the cursor of the next page.

    The cursor belongs to these filters. Inspections that are stored meanwhile move nothing from one page to another.
    Raises BadInput for a cursor that no search has returned, and for a limit outside 1 to 500.
    """
    if not 1 <= limit <= LARGEST:
        raise BadInput(f"The limit is {limit}; it can be from 1 to {LARGEST}.", next_step="Ask for several pages.")
    after = None if cursor is None else _decoded(cursor)
    with ledger.reading() as session:
        numbers, end = _page(session, line, filters, after, limit)
        rows = {item.id: item for item in session.scalars(_ROWS.where(Inspection.id.in_(numbers)))}
    return Found([rows[number] for number in numbers], None if end is None else _encoded(*end))


Place = tuple[datetime, int]  # time and id of an inspection, by which they are ordered


def _page(
    session: Session, line: str, filters: Filters, after: Place | None, limit: int
) -> tuple[list[int], Place | None]:
    """Return the ids on a page, and the last place that it looked at, or None at the end.

    Every query has one lower and one upper bound at most, because SQLite's index uses one of each.
    """
    matching = [
        (name, value) for name in ("verdict", "model_version", "slice") if (value := getattr(filters, name)) is not None
    ]
    before = _after(after) if after else [] if filters.until is None else [Inspection.inspected_at < filters.until]
    since = [] if filters.since is None else [Inspection.inspected_at >= filters.since]
    looked_at = select(Inspection.inspected_at, Inspection.id).where(Inspection.line == line, *before)
    if filters.part is not None:  # the inspections of one part are few, and have their own index
        query = looked_at.where(Inspection.part == filters.part, *since)
        query = query.where(*(getattr(Inspection, name) == value for name, value in matching))
        of_part = sorted((_place(row) for row in session.execute(query)), reverse=True)
        return [number for _, number in of_part[:limit]], of_part[limit - 1] if len(of_part) > limit else None
    looked_at = looked_at.where(*since).order_by(Inspection.inspected_at.desc(), Inspection.id.desc())
    if not matching:
        found = [_place(row) for row in session.execute(looked_at.limit(limit))]
        return [number for _, number in found], found[-1] if len(found) == limit else None
    # The databases read an ordered subquery in its order and only as far as needed, so a page ends with its last match.
    scanned = looked_at.add_columns(Inspection.verdict, Inspection.model_version, Inspection.slice).limit(SCANNED)
    places = scanned.subquery()
    query = select(places.c.inspected_at, places.c.id).where(*(places.c[name] == value for name, value in matching))
    found = [_place(row) for row in session.execute(query.limit(limit))]
    if len(found) == limit:
        return [number for _, number in found], found[-1]
    last = session.execute(looked_at.offset(SCANNED - 1).limit(1)).first()
    return [number for _, number in found], _place(last) if last else None


def _place(row: Any) -> Place:
    return row.inspected_at, row.id


def _after(place: Place) -> list[ColumnElement[bool]]:
    """Return the conditions for what comes after a place. The index can use the first."""
    moment, number = place
    earlier, same = Inspection.inspected_at < moment, Inspection.inspected_at == moment
    return [Inspection.inspected_at <= moment, or_(earlier, and_(same, Inspection.id < number))]


def _encoded(moment: datetime, number: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([moment.isoformat(), number]).encode()).decode().rstrip("=")


def _decoded(cursor: str) -> Place:
    try:
        moment, number = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return datetime.fromisoformat(moment).astimezone(UTC), int(number)
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise BadInput(
            f"{cursor[:80]!r} is no cursor.", next_step="Use the one of the page before, unchanged."
        ) from error
