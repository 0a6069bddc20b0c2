"""Inspections and rejections in the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath

from sqlalchemy import case, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, make_transient

from models.errors import BadInput
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.part_verdicts import SEVERITY
from pipelines.ledger.tables import Inspection, Rejection

Record = Inspection | Rejection
SHOWN = 5  # of the parts that have one file name
_AT_ONCE = 500  # bound parameters of one statement


def add(ledger: Ledger, records: Sequence[Record]) -> None:
    """Write them in one transaction: all are on the disk when this returns, or none."""
    with ledger.writing() as session:
        session.add_all(records)


def add_once(ledger: Ledger, records: Sequence[Record]) -> dict[str, Record]:
    """Write those whose request their line does not know yet, in one transaction. Returns what stands by request.

    Another process may have been faster with some, and one request may be among `records` twice: the first one stands.
    """
    if not records:
        return {}
    while True:
        try:
            with ledger.writing() as session:
                standing = _requested(session, records[0].line, [record.request_id for record in records])
                for record in records:
                    if record.request_id not in standing:
                        session.add(record)
                        standing[record.request_id] = record
            return standing
        except IntegrityError:
            # A database that lets two write at once noticed at the end that the other one was faster.
            if not requested(ledger, records[0].line, [record.request_id for record in records]):
                raise  # it is something else
            for record in records:
                make_transient(record)


def requested(ledger: Ledger, line: str, request_ids: Collection[str]) -> dict[str, Record]:
    """The inspection or rejection that each of these requests led to on the line; unknown ones are absent."""
    with ledger.reading() as session:
        return _requested(session, line, list(request_ids))


def _requested(session: Session, line: str, request_ids: Sequence[str]) -> dict[str, Record]:
    by_request: dict[str, Record] = {}
    for start in range(0, len(request_ids), _AT_ONCE):
        block = request_ids[start : start + _AT_ONCE]
        for table in (Inspection, Rejection):
            asked = select(table).where(table.line == line, table.request_id.in_(block))
            records: Iterable[Record] = session.scalars(asked)
            by_request |= {record.request_id: record for record in records}
    return by_request


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
    latest_first = []
    with ledger.reading() as session:
        for item in session.scalars(query):
            if item.part not in parts and len(parts) == n:
                break
            parts.add(item.part)
            latest_first.append(item)
    return latest_first[::-1]


def of_part(ledger: Ledger, line: str, part: str) -> list[Inspection]:
    query = select(Inspection).where(Inspection.line == line, Inspection.part == part).order_by(Inspection.id)
    with ledger.reading() as session:
        return list(session.scalars(query))


def of_parts(ledger: Ledger, line: str, parts: Collection[str]) -> list[Inspection]:
    """Inspections of all these parts, oldest first."""
    names = list(parts)
    selected: list[Inspection] = []
    with ledger.reading() as session:
        for start in range(0, len(names), _AT_ONCE):
            block = names[start : start + _AT_ONCE]
            query = select(Inspection).where(Inspection.line == line, Inspection.part.in_(block))
            selected += session.scalars(query).all()
    return sorted(selected, key=lambda item: item.id)


def part_called(ledger: Ledger, line: str, name: str) -> str:
    """The inspected part with this id, or the one whose image was delivered under this file name.

    Raises BadInput when there is none, and when several parts have an image of that name.
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
        raise BadInput(f"Part {name} was never inspected on line {line}.", next_step="Check the serial number.")
    if len(matching) > 1:
        shown = ", ".join(matching[:SHOWN]) + (", …" if len(matching) > SHOWN else "")
        raise BadInput(f"{name} is the file name of {len(matching)} parts: {shown}.", next_step="Name one of them.")
    return matching[0]


def _is_called(file_name: str, name: str) -> bool:
    """Whether a delivered name is this one: with or without its folders, with or without its suffix."""
    path = PurePosixPath(file_name)
    return name in (file_name, path.name, path.with_suffix("").as_posix(), path.stem)


def part_verdicts(ledger: Ledger, line: str, parts: Collection[str] | None = None) -> dict[str, str]:
    """The verdict on each part, of these parts only where named: the rule of `part_verdicts`, in the database."""
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


def count_parts(ledger: Ledger, line: str) -> dict[str, int]:
    """Inspected parts of the line by verdict."""
    return dict(sorted(Counter(part_verdicts(ledger, line).values()).items()))
