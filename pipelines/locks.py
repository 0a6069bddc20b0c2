"""Who may work on a line: locks on files in the workspace's state, let go by the kernel when their process dies.

| lock | held for | by |
|---|---|---|
| line | what changes data or stage outputs, a whole training included | ingest, validate, snapshot, train, … |
| decision | a promotion, a refusal or a rollback: seconds | promote, rollback |
| retraining | one retraining from its request to its end, or until it waits for labels | the retraining flow |
| serving | as long as the deployments are served | deploy |

They hold among the threads and the processes of one host. Whoever holds the line's lock may take the decision lock, not the
other way round.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from models import names
from models.errors import Busy
from models.files import write_whole
from pipelines.workspace import Workspace

POLL_S = 0.1


def line_lock(workspace: Workspace, line: str, wait_s: float = 0.0) -> AbstractContextManager[None]:
    """Nobody else changes the line's data or stage outputs during the block."""
    return _held(workspace, names.for_tools(line), f"Line {line} is busy", wait_s)


def decision_lock(workspace: Workspace, line: str, wait_s: float = 0.0) -> AbstractContextManager[None]:
    """Nobody else decides about the line's champion during the block. A training does not hold it: a rollback can't wait."""
    return _held(
        workspace,
        f"{names.for_tools(line)}.decision",
        f"A decision about the champion of line {line} is under way",
        wait_s,
    )


def retraining_lock(workspace: Workspace, line: str) -> AbstractContextManager[None]:
    """No other retraining of the line is at work during the block."""
    return _held(workspace, f"{names.for_tools(line)}.retraining", f"Line {line} is being retrained", 0.0)


def serving_lock(workspace: Workspace, line: str, wait_s: float = 0.0) -> AbstractContextManager[None]:
    """Nobody else serves the line's deployments during the block, so every run of theirs that is not ours is dead."""
    return _held(workspace, f"{names.for_tools(line)}.serving", f"Line {line} is served already", wait_s)


@contextlib.contextmanager
def _held(workspace: Workspace, name: str, busy: str, wait_s: float) -> Iterator[None]:
    """Hold the lock for the block. A thread that already holds it may take it again; another one waits.

    Waits up to `wait_s`, then raises Busy with the holder's process, thread, command and since when.
    """
    path = workspace.state / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    note = path.with_name(f"{name}.json")  # beside the lock: who holds it
    lock = FileLock(path, is_singleton=True)  # one for each path, with a count of its own in every thread
    again = lock.is_locked
    try:
        lock.acquire(timeout=wait_s, poll_interval=POLL_S)
    except Timeout:
        raise Busy(
            f"{busy}: {_holder(note)}.",
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
