"""Verifies the hash chain of a line: finds rows and entries that were altered, removed, inserted or moved.

What it can't find: a tail that was cut off together with its rows. For this, keep the head (position and hash) elsewhere and
give it to the next verification.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection

from pipelines.ledger import chain
from pipelines.ledger.ledger import Ledger

_BLOCK = 5000  # rows or entries that are read together
_SHA256 = 32  # bytes


@dataclass(frozen=True)
class Entry:
    position: int
    record: str
    record_id: int
    record_sha256: str
    hash: str
    chained_at: str


@dataclass(frozen=True)
class Verified:
    """The state of a chain. `position` and `head` are those of its last entry; `problems` are sentences."""

    line: str
    entries: int
    rows: int
    began_at: str | None
    position: int
    head: str
    kept_head_at: int | None  # position of the kept head that was asked about
    problems: tuple[str, ...]


@dataclass
class Hashes:
    """The hashes that a chain has of the rows of one table, one for each entry."""

    ids: array = field(default_factory=lambda: array("q"))
    digests: bytearray = field(default_factory=bytearray)

    def add(self, entry: Entry) -> None:
        """Raises ValueError, TypeError or OverflowError for an entry that no release has written."""
        digest = bytes.fromhex(entry.record_sha256)
        if len(digest) != _SHA256:
            raise ValueError(entry.record_sha256)
        self.ids.append(entry.record_id)
        self.digests += digest

    def latest(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids in ascending order, int64 [n], and the index of the last entry of each, int64 [n]."""
        ids = np.frombuffer(self.ids, dtype=np.int64) if self.ids else np.empty(0, np.int64)
        unique, from_the_end = np.unique(ids[::-1], return_index=True)
        return unique, len(ids) - 1 - from_the_end

    def digest(self, index: int) -> bytes:
        return bytes(self.digests[index * _SHA256 : (index + 1) * _SHA256])


@dataclass
class Walk:
    """The entries of a chain, read in their order and checked against each other."""

    line: str
    kept_head: str | None = None
    position: int = 0
    head: str = chain.BEFORE_THE_FIRST
    began_at: str | None = None
    entries: int = 0
    kept_head_at: int | None = None
    problems: list[str] = field(default_factory=list)
    tables: dict[str, Hashes] = field(default_factory=lambda: defaultdict(Hashes))

    def read(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._add(entry)
        if self.kept_head is not None and self.kept_head_at is None:
            self.problems.append(
                f"The kept head {self.kept_head[:16]}… is no entry of this chain: entries were removed or replaced."
            )

    def _add(self, entry: Entry) -> None:
        what = f"entry {entry.position} ({entry.record} {entry.record_id})"
        if type(entry.position) is not int:
            self.problems.append(f"The chain's {what} has no position.")
            return
        if entry.position != self.position + 1:
            self.problems.append(f"Entries are missing in the chain between {self.position} and {entry.position}.")
        expected = chain.entry_hash(
            self.head,
            self.line,
            entry.position,
            entry.record,
            entry.record_id,
            entry.record_sha256,
            entry.chained_at,
        )
        if expected != entry.hash:
            self.problems.append(f"The chain breaks at {what}: it or the entry before it was altered or moved.")
        self.position, self.head = entry.position, entry.hash
        self.began_at = self.began_at or entry.chained_at
        self.entries += 1
        if entry.hash == self.kept_head:
            self.kept_head_at = entry.position
        try:
            self.tables[entry.record].add(entry)
        except (ValueError, TypeError, OverflowError):
            self.problems.append(f"The chain's {what} is not readable.")


def verify(ledger: Ledger, line: str, kept_head: str | None = None) -> Verified:
    """Verify the chain of a line and all rows of the line in chained tables. `kept_head` is the hash of an earlier head."""
    with ledger.reading() as session:
        connection = session.connection()
        if connection.dialect.name != "sqlite":  # one state for all statements; SQLite's transactions have that anyway
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        walk = Walk(line, kept_head and kept_head.strip().lower())
        walk.read(entries(connection, line))
        rows = 0
        for table, record in chain.chained_tables().items():
            hashed = _rows(connection, line, table, chain.columns_of(record))
            rows += compare(walk, table, hashed)
        for unknown in sorted(set(walk.tables) - set(chain.chained_tables())):
            walk.problems.append(f"The chain has entries of a table {unknown!r} that does not exist.")
    return result(walk, rows)


def result(walk: Walk, rows: int) -> Verified:
    return Verified(
        walk.line,
        walk.entries,
        rows,
        walk.began_at,
        walk.position,
        walk.head,
        walk.kept_head_at,
        tuple(walk.problems),
    )


def compare(walk: Walk, table: str, rows: Iterable[tuple[int, str]], *, whole: bool = True) -> int:
    """Compare rows (id, hash) of a table, in ascending order of id, with the chain. Returns their number.

    `whole`: these are all rows of the table, so that a row with an entry and without a row was removed.
    """
    known = walk.tables[table] if table in walk.tables else Hashes()
    ids, indexes = known.latest()
    seen = np.zeros(len(ids), dtype=bool)
    name = table.replace("_", " ").removesuffix("s")
    count = 0
    for number, sha256 in rows:
        count += 1
        at = int(np.searchsorted(ids, number))
        if at == len(ids) or ids[at] != number:
            walk.problems.append(f"Row {number} of {table} was inserted: the chain has no entry for this {name}.")
            continue
        seen[at] = True
        if known.digest(int(indexes[at])) != bytes.fromhex(sha256):
            walk.problems.append(f"Row {number} of {table} was altered: its hash is not that of its last entry.")
    if whole:
        walk.problems += [
            f"Row {number} of {table} is missing: it was deleted or moved to another line." for number in ids[~seen]
        ]
    return count


def entries(connection: Connection, line: str, after: int = -(2**62)) -> Iterator[Entry]:
    """Yield the entries of a line in the order of their positions."""
    query = (
        "SELECT position, record, record_id, record_sha256, hash, chained_at FROM chain "
        f"WHERE line = ? AND position > ? ORDER BY position LIMIT {_BLOCK}"
    )
    while block := connection.exec_driver_sql(chain.statement(connection, query), (line, after)).all():
        for position, record, record_id, record_sha256, hash_, at in block:
            yield Entry(
                position, record, record_id, record_sha256, hash_, at if isinstance(at, str) else chain.as_text(at)
            )
        after = block[-1][0]


def _rows(connection: Connection, line: str, table: str, columns: chain.Columns) -> Iterator[tuple[int, str]]:
    last = -(2**62)
    while block := chain.hashed_block(connection, line, table, columns, last):
        yield from block
        last = block[-1][0]
