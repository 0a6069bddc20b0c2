"""Webhooks: every verdict of the line is posted to an address, signed, at least once.

The verdicts are read from the service, so those of stations, connectors and batches are all sent. A delivery is in the
spool, together with the position in the ledger, before it is posted, and leaves it when the receiver has answered with
a 2xx status.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx

from models.errors import DefectloopError
from pipelines.client import Answer, backoff_s
from pipelines.connectors import webhook_signature
from pipelines.connectors.config import Webhook, secret
from pipelines.connectors.spool import SpoolFull, Waiting
from pipelines.connectors.station import Station, Stopped

POST_S = 10.0  # one delivery
STRETCH = 100  # more than the requests that a service works on at the same time
MOST = 500  # inspections that are taken into the spool at once
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 300.0


class WebhookConnector:
    """One receiver."""

    def __init__(self, name: str, config: Webhook, root: Path, station: Station) -> None:
        self.name, self.config, self.station = f"webhooks.{name}", config, station
        self._secret = secret(config.secret_env, f"connectors.webhooks.{name}.secret_env") or ""
        self._failures, self._not_before = 0, 0.0

    async def run(self) -> None:
        await self.station.keep(self.name, self._working, (OSError, DefectloopError))

    async def _working(self) -> None:
        self.station.state(self.name, f"sends verdicts to {self.config.url}")
        async with httpx.AsyncClient(timeout=POST_S) as http:
            reading = asyncio.create_task(self._read())
            try:
                while not self.station.stopping.is_set():
                    sent = await self._send(http)
                    if reading.done():
                        reading.result()  # raises why it ended
                    await self.station.first_of(0.0 if sent else min(0.2, self.config.poll_s))
            finally:
                reading.cancel()

    async def _read(self) -> None:
        """Take new inspections into the spool, as long as there is room."""
        try:
            while True:
                try:
                    more = await asyncio.to_thread(self._take)
                except SpoolFull:
                    self.station.state(self.name, "the spool is full (spool_mb): new verdicts wait in the ledger")
                    more = False
                except DefectloopError as error:
                    self.station.state(self.name, f"waits for new verdicts, because {error}")
                    more = False
                await self.station.pause(0.0 if more else self.config.poll_s)
        except Stopped:
            return

    def _take(self) -> bool:
        """Put the oldest inspections after the position into the spool. Returns whether there may be more.

        Raises SpoolFull.
        """
        spool, after = self.station.spool, self.station.spool.position(self.name)
        if after is None:  # the first time: what came before is not sent
            present = itertools.islice(self.station.client.search(self.station.line, page=STRETCH), STRETCH)
            spool.put(self.name, (), time.time(), max((row["inspection"] for row in present), default=0))
            return False
        new = _After(after)
        found = heapq.nsmallest(
            MOST,
            new.rows(self.station.client.search(self.station.line, page=STRETCH)),
            key=lambda row: row["inspection"],
        )
        if new.highest < after:  # another ledger, whose numbers begin again
            spool.put(self.name, (), time.time(), 0)
            return True
        if found:
            chosen = [row for row in found if row["verdict"] in self.config.verdicts]
            deliveries = [(self._identity(row), _document(row)) for row in chosen]
            spool.put(self.name, deliveries, time.time(), found[-1]["inspection"])
        return len(found) == MOST

    def _identity(self, row: Answer) -> str:
        """Return the delivery's id: the same inspection has the same one, however often it is sent."""
        told = f"{self.name} {self.config.url} {row['line']} {row['inspection']} {row['inspected_at']}"
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    async def _send(self, http: httpx.AsyncClient) -> bool:
        """Post the deliveries that are due. Returns whether any was accepted."""
        if time.monotonic() < self._not_before:
            return False
        accepted = False
        for waiting in await asyncio.to_thread(self.station.spool.due, self.name, time.time()):
            if self.station.stopping.is_set():
                break
            try:
                problem = await self._post(http, waiting)
            except httpx.TransportError as error:
                self._failures += 1
                self._not_before = time.monotonic() + backoff_s(self._failures, FIRST_WAIT_S, LONGEST_WAIT_S / 10)
                reason = str(error) or type(error).__name__
                self.station.state(
                    self.name, f"{self.config.url} does not answer ({reason}): verdicts wait in the spool"
                )
                return accepted
            self._failures = 0
            if problem is None:
                await asyncio.to_thread(self.station.spool.remove, waiting)
                self.station.state(self.name, f"{self.config.url} accepts verdicts")
                accepted = True
            else:
                await self._refused(waiting, problem)
        return accepted

    async def _post(self, http: httpx.AsyncClient, waiting: Waiting) -> str | None:
        """Post a delivery. Returns what is wrong with the answer, or None."""
        body = json.dumps({"delivery": waiting.key, **waiting.body}).encode()
        now = int(time.time())
        headers = {
            "Content-Type": "application/json",
            webhook_signature.DELIVERY: waiting.key,
            webhook_signature.TIMESTAMP: str(now),
            webhook_signature.SIGNATURE: webhook_signature.signature(self._secret, now, body),
        }
        answer = await http.post(self.config.url, content=body, headers=headers)
        return None if answer.is_success else f"status {answer.status_code}"

    async def _refused(self, waiting: Waiting, problem: str) -> None:
        number = waiting.body["inspection"]["inspection"]
        if time.time() - waiting.since > self.config.give_up_after_h * 3600:
            self.station.state(
                f"{self.name} inspection {number}", f"given up after {waiting.attempts + 1} attempts: {problem}"
            )
            await asyncio.to_thread(self.station.spool.remove, waiting)
            return
        self.station.state(self.name, f"{self.config.url} answers {problem}: tries again")
        wait = backoff_s(waiting.attempts, FIRST_WAIT_S, LONGEST_WAIT_S)
        await asyncio.to_thread(self.station.spool.postpone, waiting, time.time() + wait)


class _After:
    """The inspections after a number, in a list that is ordered by their time.

    A request that was judged first may be stored last, so times and numbers differ in order among requests that ran
    together. The list is read until a whole stretch of it is old.
    """

    def __init__(self, number: int) -> None:
        self.number, self.highest = number, 0

    def rows(self, newest_first: Iterable[Answer]) -> Iterator[Answer]:
        old = 0
        for row in newest_first:
            self.highest = max(self.highest, row["inspection"])
            if row["inspection"] > self.number:
                old = 0
                yield row
            else:
                old += 1
                if old == STRETCH:
                    return


def _document(row: Answer) -> dict[str, Any]:
    return {"event": "inspection", "inspection": row}
