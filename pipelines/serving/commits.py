"""Group commit: requests that arrive while a transaction is being synced share the next one.

One sync of the disk costs more than storing a row, so under load it is paid once for all waiting requests.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import NamedTuple

from models.errors import DefectloopError, Unreachable
from pipelines import failures
from pipelines.ledger import deletions, inspections
from pipelines.ledger.inspections import Record
from pipelines.ledger.ledger import Ledger

LARGEST = 256  # records of one transaction


class Stored(NamedTuple):
    """A record that is durable. `image_deleted`: retention has deleted its image, or is deleting it."""

    record: Record
    image_deleted: bool


class GroupCommit:
    """Stores records of one line durably. Thread-safe. `close` stores what was accepted before."""

    def __init__(self, ledger: Ledger, line: str) -> None:
        self._ledger = ledger
        self._waiting: deque[tuple[Record, Future[Stored]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"commits {line}")
        self._thread.start()

    def store(self, record: Record) -> Stored:
        """Return the stored record of the request once it is durable: this one, or an earlier one of the same request.

        Raises Unreachable if the ledger cannot be written.
        """
        stored: Future[Stored] = Future()
        with self._changed:
            if self._closed:
                raise Unreachable("The service is stopping.", next_step="Send the request again in a moment.")
            self._waiting.append((record, stored))
            self._changed.notify()
        return stored.result()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._store(batch)
            except Exception as error:  # one request that cannot be stored must not fail those beside it
                if len(batch) == 1:
                    batch[0][1].set_exception(_in_words(error))
                    continue
                for one in batch:
                    try:
                        self._store([one])
                    except Exception as own:
                        one[1].set_exception(_in_words(own))

    def _next(self) -> list[tuple[Record, Future[Stored]]]:
        """Wait for records. Returns them, or nothing after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return [self._waiting.popleft() for _ in range(min(LARGEST, len(self._waiting)))]

    def _store(self, batch: list[tuple[Record, Future[Stored]]]) -> None:
        stored = inspections.add_once(self._ledger, [record for record, _ in batch])
        deleted = deletions.newest(self._ledger, [record.image for record, _ in batch])
        for record, future in batch:
            if not future.done():
                future.set_result(Stored(stored[record.request_id], record.image in deleted))


def _in_words(error: Exception) -> DefectloopError:
    if isinstance(error, DefectloopError):
        return error
    return Unreachable(
        f"The ledger cannot be written: {failures.short(error)}. The inspection was not stored.",
        next_step="Check DEFECTLOOP_LEDGER and the free disk space, then send the request again.",
    )
