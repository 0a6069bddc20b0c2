"""The hash chain of a line: every stored row of a chained table gets an entry that hashes the row and the entry before.

A row's hash covers what the database holds, read back in the transaction that wrote it. It is the SHA-256 of one text:
`name:length:value` for every column that is not null, in alphabetical order, joined by line feeds. Lengths count characters.
Columns that later migrations add as nullable leave the hashes of earlier rows as they are.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import JSON, Connection, event
from sqlalchemy.orm import Session, UOWTransaction

from pipelines import progress
from pipelines.ledger.tables import Chained, now

BEFORE_THE_FIRST = "0" * 64
MOMENT = "%Y-%m-%d %H:%M:%S.%f"  # UTC, as SQLite stores it
_AT_ONCE = 500  # bound parameters per statement
_BLOCK = 5000  # rows of before that begin a chain together
_ENTRY = "INSERT INTO chain (line, position, record, record_id, record_sha256, hash, chained_at) VALUES (?,?,?,?,?,?,?)"

Columns = Sequence[tuple[str, bool]]  # names in alphabetical order, and whether each holds JSON
Touched = dict[str, dict[str, dict[int, None]]]  # ids of new and changed rows, by line and table, in their order


@cache
def columns_of(record: type[Chained]) -> Columns:
    table = record.__table__
    return sorted((column.name, isinstance(column.type, JSON)) for column in table.columns)


def row_sha256(columns: Columns, row: Iterable[Any]) -> str:
    """Return the hash of a row, which has its values as the database driver returns them or as texts."""
    parts = []
    for (name, _), value in zip(columns, row, strict=True):
        if value is not None:
            text = value if type(value) is str else as_text(value)
            parts.append(f"{name}:{len(text)}:{text}")
    return _sha256("\n".join(parts))


def entry_hash(
    before: str, line: str, position: int, record: str, record_id: int, record_sha256: str, chained_at: str
) -> str:
    """Return the hash of an entry. `before` is the hash of the entry before it, or `BEFORE_THE_FIRST`."""
    return _sha256(f"{before}\n{position}\n{chained_at}\n{record}\n{record_id}\n{record_sha256}\n{line}")


def as_text(value: Any) -> str:
    """Return one value as text, the same from every database: SQLite has no type for times and truth values.

    JSON is the stored text, times are UTC as SQLite stores them, truth values 0 or 1, and numbers as Python writes them.
    """
    if type(value) is float:
        return repr(value)
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, datetime):
        return value.strftime(MOMENT)
    return "\\x" + value.hex() if isinstance(value, bytes) else str(value)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class WritingSession(Session):
    """A session that notes which rows of chained tables it has written."""

    def touched(self) -> Touched:
        return self.info.setdefault("touched", defaultdict(lambda: defaultdict(dict)))


@event.listens_for(WritingSession, "after_flush")
def _note(session: WritingSession, _: UOWTransaction) -> None:
    changed = (item for item in session.dirty if session.is_modified(item))
    for item in (*session.new, *changed):
        if isinstance(item, Chained):
            touch(session, item)


def touch(session: Session, record: Chained) -> None:
    """Note that this transaction has written the record's row."""
    assert isinstance(session, WritingSession)
    session.touched()[record.line][record.__tablename__][record.id] = None


def close(session: WritingSession) -> None:
    """Flush, and append an entry for every row that this transaction has written. Call at the end of the transaction."""
    session.flush()
    if not session.touched():
        return
    connection = session.connection()
    records = chained_tables()
    for line, tables in sorted(session.touched().items()):
        hashed = (
            (table, number, sha256)
            for table, ids in sorted(tables.items())
            for number, sha256 in _hashed(connection, table, columns_of(records[table]), list(ids))
        )
        append(connection, line, hashed)


@cache
def chained_tables() -> dict[str, type[Chained]]:
    """Return the chained tables by name, in alphabetical order."""
    return {
        record.__tablename__: record for record in sorted(Chained.__subclasses__(), key=lambda one: one.__tablename__)
    }


def append(connection: Connection, line: str, rows: Iterable[tuple[str, int, str]]) -> None:
    """Append entries for rows (table, id, hash) in this order."""
    position, before = _locked_head(connection, line)
    at = now()
    at_text = at.strftime(MOMENT)
    moment = at_text if connection.dialect.name == "sqlite" else at.astimezone(UTC).replace(tzinfo=None)
    entries = []
    for table, number, sha256 in rows:
        position += 1
        before = entry_hash(before, line, position, table, number, sha256, at_text)
        entries.append((line, position, table, number, sha256, before, moment))
    if entries:
        connection.exec_driver_sql(statement(connection, _ENTRY), entries)


def begin(connection: Connection, line: str, tables: Mapping[str, Columns]) -> None:
    """Append entries for all rows of these tables: the beginning of the chain of a line that has rows already.

    A million rows take minutes, so the progress is shown.
    """
    count = "SELECT count(*) FROM {} WHERE line = ?"
    rows = [
        connection.exec_driver_sql(statement(connection, count.format(table)), (line,)).scalar_one() for table in tables
    ]
    done = 0
    with progress.bar(f"ledger, chain of line {line}", sum(map(int, rows))) as show:
        for table, columns in sorted(tables.items()):
            last = 0
            while block := hashed_block(connection, line, table, columns, last):
                append(connection, line, ((table, number, sha256) for number, sha256 in block))
                last = block[-1][0]
                done += len(block)
                show(done)


def _locked_head(connection: Connection, line: str) -> tuple[int, str]:
    """Return position and hash of the last entry. Until this transaction ends, no other one can append to the line."""
    if connection.dialect.name != "sqlite":  # a SQLite transaction that writes excludes all others from its beginning
        lock = "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))"
        connection.exec_driver_sql(statement(connection, lock), (f"defectloop chain {line}",))
    query = "SELECT position, hash FROM chain WHERE line = ? ORDER BY position DESC LIMIT 1"
    row = connection.exec_driver_sql(statement(connection, query), (line,)).first()
    return (0, BEFORE_THE_FIRST) if row is None else (int(row[0]), str(row[1]))


def _hashed(connection: Connection, table: str, columns: Columns, ids: list[int]) -> Iterator[tuple[int, str]]:
    for start in range(0, len(ids), _AT_ONCE):
        block = ids[start : start + _AT_ONCE]
        where = f"WHERE id IN ({','.join('?' * len(block))})"
        rows = rows_of(connection, table, columns, where, tuple(block))
        found = {number: row_sha256(columns, row) for number, row in rows}
        yield from ((number, found[number]) for number in block)


def hashed_block(connection: Connection, line: str, table: str, columns: Columns, after: int) -> list[tuple[int, str]]:
    where = f"WHERE line = ? AND id > ? ORDER BY id LIMIT {_BLOCK}"
    rows = rows_of(connection, table, columns, where, (line, after))
    return [(number, row_sha256(columns, row)) for number, row in rows]


def rows_of(
    connection: Connection, table: str, columns: Columns, where: str, values: tuple[Any, ...]
) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield id and values of rows as the driver returns them, JSON columns as their stored text."""
    cast = connection.dialect.name != "sqlite"
    names = ", ".join(f'CAST("{name}" AS TEXT)' if cast and holds_json else f'"{name}"' for name, holds_json in columns)
    position = [name for name, _ in columns].index("id")
    for row in connection.exec_driver_sql(statement(connection, f"SELECT {names} FROM {table} {where}"), values):
        yield row[position], row


def statement(connection: Connection, sql: str) -> str:
    return sql if connection.dialect.paramstyle == "qmark" else sql.replace("?", "%s")
