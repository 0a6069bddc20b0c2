"""One writer per line: a lock on a file in the workspace's state, let go by the kernel when its process dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from models.errors import Busy
from pipelines.workspace import Workspace

POLL_S = 0.1
_held: dict[str, int] = {}  # by path: how often this process holds it
_guard = threading.RLock()


@contextlib.contextmanager
def line_lock(workspace: Workspace, line: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the line's lock for the block. A process that already holds it may take it again.

    Waits up to `wait_s`, then raises Busy with the holder's process, command and since when.
    """
    path = workspace.state / "locks" / f"{line}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with _guard:
        again = _held.get(str(path), 0)
        if again:
            _held[str(path)] = again + 1
    if again:
        try:
            yield
        finally:
            with _guard:
                _held[str(path)] -= 1
        return
    with path.open("a+") as handle:
        _acquire(handle.fileno(), path.name, handle, wait_s)
        handle.truncate(0)
        handle.write(json.dumps({"pid": os.getpid(), "command": " ".join(sys.argv), "since": _now()}))
        handle.flush()
        with _guard:
            _held[str(path)] = 1
        try:
            yield
        finally:
            with _guard:
                del _held[str(path)]
            handle.truncate(0)


def _acquire(descriptor: int, name: str, handle, wait_s: float) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Busy(
                    f"Line {name.removesuffix('.lock')} is busy: {_holder(handle)}.",
                    next_step="Wait for it to end, then run the same command again.",
                ) from None
            time.sleep(POLL_S)


def _holder(handle) -> str:  # type: ignore[no-untyped-def]
    handle.seek(0)
    try:
        note = json.loads(handle.read())
    except ValueError:  # read between the lock and the note
        return "another process holds its lock"
    return f"process {note['pid']} ({note['command']}) holds its lock since {note['since']}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
