"""Exports a period of the ledger for an auditor, as CSV or Parquet files that can be verified apart from the ledger."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from models.errors import BadData, BadInput
from models.files import write_whole
from pipelines.ledger import chain, export_files, verification
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import ChainEntry
from pipelines.ledger.verification import Entry, Verified, Walk

TIMES = {  # the column of each table by which a row belongs to a period
    "drift_checks": "checked_at",
    "image_deletions": "decided_at",
    "inspections": "inspected_at",
    "part_completions": "completed_at",
    "promotions": "decided_at",
    "rejections": "rejected_at",
    "retraining_requests": "opened_at",
    "reviews": "reviewed_at",
    "withdrawals": "withdrawn_at",
}
MANIFEST = "manifest.json"
CHAIN = ("position", "record", "record_id", "record_sha256", "hash", "chained_at")


@dataclass(frozen=True)
class Exported:
    """What was exported. `rows` counts the rows of each table; position and head are those of the chain."""

    line: str
    since: str
    until: str
    rows: dict[str, int]
    position: int
    head: str
    format: str = export_files.CSV


def export(
    ledger: Ledger, line: str, since: datetime, until: datetime, folder: Path, format: str = export_files.CSV
) -> Exported:
    """Write the rows of a period (`until` excluded) and the whole chain of the line into an empty or new folder.

    Both times need a zone. The manifest is written last, so that an export without it is not complete.
    """
    if since >= until:
        raise BadInput("The period ends before it begins.", next_step="defectloop ledger export DIR --from … --to …")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} is not an empty folder.", next_step="Name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    with ledger.reading() as session:
        connection = session.connection()
        if connection.dialect.name != "sqlite":
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        position, head = _write_chain(connection, line, folder / f"chain.{format}")
        rows = {
            table: _write_rows(connection, line, table, since, until, folder / f"{table}.{format}")
            for table in chain.chained_tables()
        }
    done = Exported(line, _text(since), _text(until), rows, position, head, format)
    write_whole(folder / MANIFEST, json.dumps(asdict(done), indent=1).encode())
    return done


def verify(folder: Path, kept_head: str | None = None) -> Verified:
    """Verify an export without the ledger. Raises BadData for a folder that is no complete export."""
    try:
        manifest = Exported(**json.loads((folder / MANIFEST).read_text()))
        walk = Walk(manifest.line, kept_head and kept_head.strip().lower())
        walk.read(_entries(folder / f"chain.{manifest.format}"))
        if (walk.position, walk.head) != (manifest.position, manifest.head):
            walk.problems.append("The chain does not end at the head that the manifest names.")
        rows = 0
        for table, count in manifest.rows.items():
            path = folder / f"{table}.{manifest.format}"
            found = verification.compare(walk, table, _hashed(path), whole=False)
            if found != count:
                walk.problems.append(f"{path.name} has {found} rows; the manifest says {count}.")
            rows += found
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise BadData(f"{folder} is no complete export: {error}.", next_step="Export the period again.") from error
    return verification.result(walk, rows)


def _write_chain(connection: Connection, line: str, path: Path) -> tuple[int, str]:
    position, head = 0, chain.BEFORE_THE_FIRST

    def rows() -> Iterator[list[Any]]:
        nonlocal position, head
        for entry in verification.entries(connection, line):
            position, head = entry.position, entry.hash
            yield [getattr(entry, name) for name in CHAIN]

    export_files.write(path, ChainEntry, CHAIN, rows())
    return position, head


def _write_rows(connection: Connection, line: str, table: str, since: datetime, until: datetime, path: Path) -> int:
    record = chain.chained_tables()[table]
    columns = chain.columns_of(record)
    period = (line, *(_bound(connection, moment) for moment in (since, until)))
    where = f"WHERE line = ? AND {TIMES[table]} >= ? AND {TIMES[table]} < ? ORDER BY id"
    rows = (row for _, row in chain.rows_of(connection, table, columns, where, period))
    return export_files.write(path, record, [name for name, _ in columns], rows)


def _entries(path: Path) -> Iterator[Entry]:
    for row in export_files.read(path):
        numbers = {name: int(row[name] or "") for name in ("position", "record_id")}
        yield Entry(**(row | numbers))  # type: ignore[arg-type]


def _hashed(path: Path) -> Iterator[tuple[int, str]]:
    for row in export_files.read(path):
        names = sorted(row)
        yield int(row["id"] or ""), chain.row_sha256([(name, False) for name in names], [row[name] for name in names])


def _bound(connection: Connection, moment: datetime) -> Any:
    in_utc = moment.astimezone(UTC).replace(tzinfo=None)
    return chain.as_text(in_utc) if connection.dialect.name == "sqlite" else in_utc


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
