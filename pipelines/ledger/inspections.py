"""Inspections and rejections in the ledger."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from sqlalchemy import String, case, func, select, type_coerce
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.errors import BadInput
from pipelines.ledger import chain, inserting
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.part_verdicts import SEVERITY
from pipelines.ledger.tables import Inspection, Rejection

Record = Inspection | Rejection
SHOWN = 5  # parts with the same file name that are listed
COMPARED = 5000  # latest inspections whose names are compared with an unknown one
_AT_ONCE = 400  # bound parameters per statement
_BLOCK = 5000  # rows that are read together


def add(ledger: Ledger, records: Sequence[Record]) -> None:
    """Store all records in one durable transaction."""
    with ledger.writing() as session:
        session.add_all(records)


def add_once(ledger: Ledger, records: Sequence[Record]) -> dict[str, Record]:
    """Store records of new requests in one transaction. Returns the stored record of every request.

    If another process has stored a request, or `records` has a request twice, the first record is kept.
    """
    if not records:
        return {}
    while True:
        try:
            with ledger.writing() as session:
                stored = _requested(session, records[0].line, [record.request_id for record in records])
                new = {record.request_id: record for record in reversed(records) if record.request_id not in stored}
                inserting.insert(session, [record for record in records if new.get(record.request_id) is record])
            return stored | new
        except IntegrityError:
            # A database with concurrent writers found at commit that another process was faster.
            if not requested(ledger, records[0].line, [record.request_id for record in records]):
                raise  # another cause


def requested(ledger: Ledger, line: str, request_ids: Collection[str]) -> dict[str, Record]:
    """Return the inspection or rejection of each of these requests. Unknown requests are missing."""
    with ledger.reading() as session:
        return _requested(session, line, list(request_ids))


def _requested(session: Session, line: str, request_ids: Sequence[str]) -> dict[str, Record]:
    by_request: dict[str, Record] = {}
    for start in range(0, len(request_ids), _AT_ONCE):
        block = request_ids[start : start + _AT_ONCE]
        for table in (Inspection, Rejection) if _is_any_known(session, line, block) else ():
            asked = select(table).where(table.line == line, table.request_id.in_(block))
            records: Iterable[Record] = session.scalars(asked)
            by_request |= {record.request_id: record for record in records}
    return by_request


def _is_any_known(session: Session, line: str, request_ids: Sequence[str]) -> bool:
    """Return whether one of these requests is stored. Without the ORM, because almost every request is new."""
    connection = session.connection()
    marks = ",".join("?" * len(request_ids))
    query = " UNION ALL ".join(
        f"SELECT 1 FROM {table} WHERE line = ? AND request_id IN ({marks})" for table in ("inspections", "rejections")
    )
    values = (line, *request_ids) * 2
    return connection.exec_driver_sql(chain.statement(connection, f"{query} LIMIT 1"), values).first() is not None


def latest(ledger: Ledger, line: str, n: int, *, artefact_sha256: str | None = None) -> list[Inspection]:
    """Return the last `n` inspections of the line, oldest first, optionally only those by one model."""
    query = select(Inspection).where(Inspection.line == line).order_by(Inspection.id.desc()).limit(n)
    if artefact_sha256 is not None:
        query = query.where(Inspection.artefact_sha256 == artefact_sha256)
    with ledger.reading() as session:
        return list(reversed(session.scalars(query).all()))


@dataclass(frozen=True)
class Described:
    """Inspections as columns, oldest first. `times` are in UTC, as the database driver returns them."""

    ids: Sequence[int]
    parts: Sequence[str]
    slices: Sequence[str | None]
    times: Sequence[str | datetime]
    descriptors: Sequence[Mapping[str, float]]


def descriptors_of(ledger: Ledger, line: str, artefact_sha256: str) -> Iterator[Described]:
    """Yield all inspections by one model in blocks, oldest first, without the ORM: there may be a million."""
    raw = (Inspection.part, Inspection.slice, Inspection.inspected_at, Inspection.descriptors)
    query = (
        select(Inspection.id, *(type_coerce(column, String) for column in raw))
        .where(Inspection.line == line, Inspection.artefact_sha256 == artefact_sha256)
        .order_by(Inspection.id)
    )
    with ledger.connected() as connection:
        for block in connection.execution_options(yield_per=_BLOCK).execute(query).partitions():
            ids, parts, slices, times, described = zip(*block, strict=True)
            if isinstance(described[0], str):  # SQLite; drivers of other databases read JSON themselves
                described = json.loads(f"[{','.join(described)}]")
            yield Described(ids, parts, slices, times, described)


def with_numbers(ledger: Ledger, numbers: Collection[int]) -> list[Inspection]:
    """Return the inspections with these ids, oldest first."""
    wanted, selected = sorted(numbers), list[Inspection]()
    with ledger.reading() as session:
        for start in range(0, len(wanted), _AT_ONCE):
            selected += session.scalars(select(Inspection).where(Inspection.id.in_(wanted[start : start + _AT_ONCE])))
    return sorted(selected, key=lambda item: item.id)


def of_first_parts(ledger: Ledger, line: str, n: int, *, artefact_sha256: str, since: datetime) -> list[Inspection]:
    """Return the inspections by one model of the first `n` parts that it inspected from `since` on, oldest first."""
    query = (
        select(Inspection)
        .where(Inspection.line == line, Inspection.inspected_at >= since, Inspection.artefact_sha256 == artefact_sha256)
        .order_by(Inspection.id)
        .execution_options(yield_per=_AT_ONCE)
    )
    found: list[Inspection] = []
    parts: set[str] = set()
    with ledger.reading() as session:
        for item in session.scalars(query):
            if item.part not in parts and len(parts) == n:
                break
            parts.add(item.part)
            found.append(item)
    return found


def of_part(ledger: Ledger, line: str, part: str) -> list[Inspection]:
    query = select(Inspection).where(Inspection.line == line, Inspection.part == part).order_by(Inspection.id)
    with ledger.reading() as session:
        return list(session.scalars(query))


def by_number(ledger: Ledger, line: str, number: int) -> Inspection | None:
    with ledger.reading() as session:
        record = session.get(Inspection, number)
        return record if record is not None and record.line == line else None


def rejections_of_part(ledger: Ledger, line: str, part: str) -> list[Rejection]:
    query = select(Rejection).where(Rejection.line == line, Rejection.part == part).order_by(Rejection.id)
    with ledger.reading() as session:
        return list(session.scalars(query))


def of_parts(ledger: Ledger, line: str, parts: Collection[str]) -> list[Inspection]:
    """Return the inspections of all these parts, oldest first."""
    names = list(parts)
    selected: list[Inspection] = []
    with ledger.reading() as session:
        for start in range(0, len(names), _AT_ONCE):
            block = names[start : start + _AT_ONCE]
            query = select(Inspection).where(Inspection.line == line, Inspection.part.in_(block))
            selected += session.scalars(query).all()
    return sorted(selected, key=lambda item: item.id)


def part_called(ledger: Ledger, line: str, name: str) -> str:
    """Return the inspected part with this id, or the part whose image has this file name.

    Raises BadInput if there is none, and if several parts have an image of that name.
    """
    if of_part(ledger, line, name):
        return name
    escaped = name.replace("/", "//").replace("%", "/%").replace("_", "/_")
    query = select(Inspection.part, Inspection.file_name).where(
        Inspection.line == line, Inspection.file_name.like(f"%{escaped}%", escape="/")
    )
    with ledger.reading() as session:
        rows = session.execute(query.order_by(Inspection.id)).all()
    matching = list(dict.fromkeys(str(part) for part, file_name in rows if _is_called(str(file_name), name)))
    if not matching:
        close = _alike(ledger, line, name)
        raise BadInput(
            f"Part {name} was never inspected on line {line}.",
            next_step=f"Did you mean {', '.join(close)}?" if close else "Check the serial number.",
        )
    if len(matching) > 1:
        shown = ", ".join(matching[:SHOWN]) + (", …" if len(matching) > SHOWN else "")
        raise BadInput(
            f"{name} is the file name of {len(matching)} parts: {shown}.", next_step="Give the id of one part."
        )
    return matching[0]


def an_inspected_part(ledger: Ledger, line: str) -> str | None:
    """Return the part that was inspected last. None before the first inspection."""
    query = select(Inspection.part).where(Inspection.line == line).order_by(Inspection.id.desc()).limit(1)
    with ledger.reading() as session:
        return session.scalar(query)


def _alike(ledger: Ledger, line: str, name: str) -> list[str]:
    """Return the latest parts and file names that resemble a name, most similar first."""
    query = (
        select(Inspection.part, Inspection.file_name)
        .where(Inspection.line == line)
        .order_by(Inspection.id.desc())
        .limit(COMPARED)
    )
    with ledger.reading() as session:
        known = {str(text) for row in session.execute(query) for text in row if text}
    stems = {PurePosixPath(text).stem: text for text in sorted(known, reverse=True)}
    return [stems[stem] for stem in difflib.get_close_matches(PurePosixPath(name).stem, stems, n=3, cutoff=0.7)]


def _is_called(file_name: str, name: str) -> bool:
    """Return whether a file name matches, with or without folders and suffix."""
    path = PurePosixPath(file_name)
    return name in (file_name, path.name, path.with_suffix("").as_posix(), path.stem)


def part_verdicts(ledger: Ledger, line: str, parts: Collection[str] | None = None) -> dict[str, str]:
    """Return the verdict on each part, optionally only of these parts. The rule of `part_verdicts`, in the database."""
    if parts is None:
        return _verdicts(ledger, line, None)
    names = list(parts)
    verdicts: dict[str, str] = {}
    for start in range(0, len(names), _AT_ONCE):
        verdicts |= _verdicts(ledger, line, names[start : start + _AT_ONCE])
    return verdicts


def _verdicts(ledger: Ledger, line: str, parts: Sequence[str] | None) -> dict[str, str]:
    unnamed = case((Inspection.view.is_(None), Inspection.image), else_=None)
    latest = select(func.max(Inspection.id)).where(Inspection.line == line)
    if parts is not None:
        latest = latest.where(Inspection.part.in_(parts))
    latest = latest.group_by(Inspection.part, Inspection.view, unnamed)
    severity = func.max(case(SEVERITY, value=Inspection.verdict))
    query = select(Inspection.part, severity).where(Inspection.id.in_(latest)).group_by(Inspection.part)
    name = {number: verdict for verdict, number in SEVERITY.items()}
    with ledger.reading() as session:
        return {str(part): name[number] for part, number in session.execute(query)}


def count_parts_of_version(ledger: Ledger, line: str, version: str) -> int:
    """Return the number of parts that this version inspected."""
    query = select(func.count(func.distinct(Inspection.part))).where(
        Inspection.line == line, Inspection.model_version == version
    )
    with ledger.reading() as session:
        return session.scalar(query) or 0


def count_parts(ledger: Ledger, line: str) -> dict[str, int]:
    """Return the number of inspected parts of the line by verdict."""
    return dict(sorted(Counter(part_verdicts(ledger, line).values()).items()))
