"""Messages that wait on disk until their receiver has confirmed them: verdicts for MQTT, deliveries for webhooks.

One SQLite file for all connectors, committed with fsync. A queue is one connector's. The size is bounded: a full spool takes
no new message (SpoolFull), and its connector stops accepting work until there is room, so nothing is dropped.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import BadData

_TABLES = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL,
    since REAL NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, UNIQUE (queue, key));
CREATE INDEX IF NOT EXISTS by_due ON messages (queue, due);
CREATE TABLE IF NOT EXISTS positions (queue TEXT PRIMARY KEY, position INTEGER NOT NULL);
"""


class SpoolFull(Exception):
    """The spool has no room for a message."""


@dataclass(frozen=True)
class Waiting:
    """A message that waits. `since` and `due` are seconds since the epoch; `attempts` counts failed deliveries."""

    id: int
    key: str
    body: Any
    since: float
    attempts: int


class Spool:
    """The spool in a file. Threads may share it; only one process may open it."""

    def __init__(self, path: Path, largest_bytes: float) -> None:
        self.path, self.largest_bytes = path, largest_bytes
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + _TABLES)
            [(self._bytes,)] = self._database.execute("SELECT COALESCE(SUM(LENGTH(body)), 0) FROM messages")
        except sqlite3.DatabaseError as error:
            raise BadData(
                f"The spool {path} cannot be opened: {error}.",
                next_step="Move the file away; the verdicts in it are in the ledger, but were not delivered.",
            ) from error

    def close(self) -> None:
        self._database.close()

    def put(self, queue: str, messages: Iterable[tuple[str, Any]], now: float, position: int | None = None) -> None:
        """Store messages, given as key and body, and the queue's position, durably and together.

        A key that waits already is not stored twice. Raises SpoolFull, and stores nothing then.
        """
        rows = [(queue, key, json.dumps(body), now, now) for key, body in messages]
        with self._transaction() as database:
            if self._bytes and self._bytes + sum(len(row[2]) for row in rows) > self.largest_bytes:
                raise SpoolFull
            added = 0
            for row in rows:
                stored = database.execute(
                    "INSERT OR IGNORE INTO messages (queue, key, body, since, due) VALUES (?, ?, ?, ?, ?)", row
                )
                added += len(row[2]) * stored.rowcount
            if position is not None:
                database.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", (queue, position))
        self._bytes += added

    def due(self, queue: str, now: float, limit: int = 20) -> list[Waiting]:
        """Return messages that are due, the oldest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT id, key, body, since, attempts FROM messages WHERE queue = ? AND due <= ? ORDER BY id LIMIT ?",
                (queue, now, limit),
            ).fetchall()
        return [Waiting(id, key, json.loads(body), since, attempts) for id, key, body, since, attempts in rows]

    def remove(self, message: Waiting) -> None:
        """Remove a message that was delivered."""
        with self._transaction() as database:
            [(size,)] = database.execute("SELECT LENGTH(body) FROM messages WHERE id = ?", (message.id,))
            database.execute("DELETE FROM messages WHERE id = ?", (message.id,))
        self._bytes -= size

    def postpone(self, message: Waiting, due: float) -> None:
        """Count a failed delivery; the message is due again at `due`."""
        with self._transaction() as database:
            database.execute("UPDATE messages SET due = ?, attempts = attempts + 1 WHERE id = ?", (due, message.id))

    def position(self, queue: str) -> int | None:
        with self._lock:
            found = self._database.execute("SELECT position FROM positions WHERE queue = ?", (queue,)).fetchone()
        return found[0] if found else None

    def waiting(self, queue: str) -> int:
        """Return how many messages of the queue wait."""
        with self._lock:
            [(number,)] = self._database.execute("SELECT COUNT(*) FROM messages WHERE queue = ?", (queue,))
        return int(number)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
