"""One writer per line: a lock on a file in the workspace's state, let go by the kernel when its process dies.

It holds among the threads and the processes of one host.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from models import names
from models.errors import Busy
from models.files import write_whole
from pipelines.workspace import Workspace

POLL_S = 0.1


@contextlib.contextmanager
def line_lock(workspace: Workspace, line: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the line's lock for the block. A thread that already holds it may take it again; another one waits.

    Waits up to `wait_s`, then raises Busy with the holder's process, thread, command and since when.
    """
    path = workspace.state / "locks" / f"{names.for_tools(line)}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    note = path.with_suffix(".json")  # beside the lock: who holds it
    lock = FileLock(path, is_singleton=True)  # one for each path, with a count of its own in every thread
    again = lock.is_locked
    try:
        lock.acquire(timeout=wait_s, poll_interval=POLL_S)
    except Timeout:
        raise Busy(
            f"Line {line} is busy: {_holder(note)}.",
            next_step="Wait for it to end, then run the same command again.",
        ) from None
    try:
        if not again:
            write_whole(note, json.dumps(_present_holder()).encode(), durable=False)
        yield
    finally:
        if not again:
            note.unlink(missing_ok=True)
        lock.release()


def _present_holder() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "thread": threading.current_thread().name,
        "command": " ".join(sys.argv),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
    except (FileNotFoundError, ValueError):  # asked between the lock and the note
        return "another process holds its lock"
    return (
        f"process {holder['pid']} ({holder['command']}), thread {holder['thread']}, "
        f"holds its lock since {holder['since']}"
    )
