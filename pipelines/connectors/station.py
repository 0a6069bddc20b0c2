"""What the connectors of one process share: the service, the spool, the signal to stop, and messages about their state.

A connector takes work from its source and hands it to `Station.inspect`, which waits as long as the service is away.
The source keeps the work until it was answered: the folder its file, the broker its message, the PLC its trigger.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from models.errors import BadInput, DefectloopError
from models.files import read_file
from pipelines.client import Answer, Client, backoff_s
from pipelines.connectors.spool import Spool

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 15.0
STEADY_S = 30.0  # a connection that lasted this long was good: the next failure is waited for briefly again
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Image:
    """An image to inspect. `key` identifies the request: the same work from the same source has the same key."""

    data: bytes
    key: str
    part: str | None = None
    view: str | None = None
    slice: str | None = None
    captured_at: str | None = None
    file_name: str | None = None


class Stopped(Exception):
    """The process ends. Unfinished work stays with its source."""


class Station:
    """The service as the connectors see it."""

    def __init__(self, client: Client, line: str, spool: Spool, stopping: asyncio.Event, say: Callable[[str], None]):
        self.client, self.line, self.spool, self.stopping = client, line, spool, stopping
        self._say = say
        self._states: dict[str, str] = {}

    def state(self, name: str, state: str) -> None:
        """Say the state of a connection, unless it was said last."""
        if self._states.get(name) != state:
            self._states[name] = state
            self._say(f"{name}: {state}")

    async def inspect(self, image: Image) -> Answer:
        """Return the inspection of an image, however long the service is away.

        Raises BadInput if this image can never be inspected, and Stopped if the process ends before it was.
        """
        attempt = 0
        while True:
            try:
                answer = await asyncio.to_thread(self._inspect, image)
            except BadInput:
                self._reached()
                raise
            except DefectloopError as error:
                self.state("service", f"waiting, because {error}")
            else:
                self._reached()
                return answer
            await self.pause(backoff_s(attempt, FIRST_WAIT_S, LONGEST_WAIT_S))
            attempt += 1

    def _inspect(self, image: Image) -> Answer:
        return self.client.inspect(
            self.line,
            image.data,
            part=image.part,
            view=image.view,
            slice=image.slice,
            captured_at=image.captured_at,
            file_name=image.file_name,
            key=image.key,
        )

    def _reached(self) -> None:
        self.state("service", f"{self.client.url} answers for line {self.line}")

    async def pause(self, seconds: float) -> None:
        """Wait. Raises Stopped if the process ends meanwhile."""
        if await self.first_of(seconds):
            raise Stopped

    async def first_of(self, seconds: float, *others: asyncio.Event) -> bool:
        """Wait until the process ends, one of the events is set, or the time is over. Returns whether the process ends."""
        tasks = [asyncio.ensure_future(event.wait()) for event in (self.stopping, *others)]
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        return self.stopping.is_set()

    async def keep(
        self, name: str, connected: Callable[[], Awaitable[None]], lost: tuple[type[Exception], ...]
    ) -> None:
        """Run `connected` again and again until the process ends, with longer and longer waits after errors.

        The errors in `lost` are expected from a connection. Any other is a mistake of ours: it is logged with its
        traceback and must not stop the other connectors either.
        """
        attempt = 0
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                await connected()
            except Stopped:
                return
            except Exception as error:
                reason = str(error).strip().rstrip(".") or type(error).__name__
                self.state(name, f"not connected: {reason}; tries again")
                if not isinstance(error, lost):
                    log.exception("%s failed", name)
            attempt = 0 if time.monotonic() - began > STEADY_S else attempt + 1
            await self.first_of(backoff_s(attempt, FIRST_WAIT_S, LONGEST_WAIT_S))


def read_below(folder: Path, path: str, largest_bytes: float) -> bytes:
    """Return the bytes of a file below `folder` that a message names. Raises BadInput; links out of the folder are
    refused."""
    root = folder.resolve()
    try:
        target = (root / path).resolve()
        size = target.stat().st_size
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(f"{path!r} cannot be read below {root}: {error}.", next_step="Check the path.") from error
    if not target.is_relative_to(root):
        raise BadInput(f"{path!r} is not below {root}.", next_step="Name a file below the connector's folder.")
    if size > largest_bytes:
        raise BadInput(
            f"{target} has {size / 1e6:.1f} MB, more than {largest_bytes / 1e6:.1f} MB.",
            next_step="Write smaller images, or raise largest_mb in service.yaml.",
        )
    return read_file(target)
