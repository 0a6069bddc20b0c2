"""Locks of a line: file locks in the workspace's state directory, which the kernel releases when their process dies.

| lock | protects | held by |
|---|---|---|
| line | data and stage outputs; held for a whole training | init, ingest, validate, snapshot, train, … |
| decision | the champion; held for seconds by a promotion, refusal or rollback | promote, rollback |
| retraining | one retraining, from its request until it ends or waits for labels | the retraining flow |
| serving | the deployments, as long as they are served | deploy |
| connecting | the spool of the connectors, as long as they run | connect |
| retention | the deletion of images, as long as it runs | ledger retention |

Locks work between the threads and processes of one host. The holder of the line lock may take the decision lock, but not
the other way round.
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
    """Prevent others from changing the line's data or stage outputs during the block. Raises Busy after `wait_s`."""
    return _held(workspace, names.for_tools(line), f"Line {line} is busy", wait_s)


def decision_lock(workspace: Workspace, line: str, wait_s: float = 0.0) -> AbstractContextManager[None]:
    """Prevent other decisions about the line's champion during the block. Raises Busy after `wait_s`.

    A training does not hold this lock, so that a rollback need not wait for it.
    """
    return _held(
        workspace,
        f"{names.for_tools(line)}.decision",
        f"A decision about the champion of line {line} is in progress",
        wait_s,
    )


def retraining_lock(workspace: Workspace, line: str) -> AbstractContextManager[None]:
    """Prevent other retrainings of the line during the block. Raises Busy at once."""
    return _held(workspace, f"{names.for_tools(line)}.retraining", f"Line {line} is being retrained", 0.0)


def serving_lock(workspace: Workspace, line: str, wait_s: float = 0.0) -> AbstractContextManager[None]:
    """Prevent others from serving the line's deployments during the block. Raises Busy after `wait_s`.

    So any unfinished run of these deployments that is not ours belongs to a dead process.
    """
    return _held(workspace, f"{names.for_tools(line)}.serving", f"Line {line} is already being served", wait_s)


def connecting_lock(workspace: Workspace, line: str) -> AbstractContextManager[None]:
    """Prevent others from running the line's connectors during the block. Raises Busy at once."""
    return _held(workspace, f"{names.for_tools(line)}.connecting", f"The connectors of line {line} run already", 0.0)


def retention_lock(workspace: Workspace, line: str) -> AbstractContextManager[None]:
    """Prevent others from deleting images of the line during the block. Raises Busy at once."""
    return _held(workspace, f"{names.for_tools(line)}.retention", f"Images of line {line} are being deleted", 0.0)


@contextlib.contextmanager
def _held(workspace: Workspace, name: str, busy: str, wait_s: float) -> Iterator[None]:
    """Hold the lock during the block. A thread that already holds it may take it again; other threads wait.

    Waits up to `wait_s` seconds, then raises Busy with the holder's process, thread, command and start time.
    """
    path = workspace.state / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    note = path.with_name(f"{name}.json")  # describes the holder
    lock = FileLock(path, is_singleton=True)  # one object per path, with a counter per thread
    again = lock.is_locked
    try:
        lock.acquire(timeout=wait_s, poll_interval=POLL_S)
    except Timeout:
        raise Busy(
            f"{busy}: {_holder(note)}.",
            next_step="Wait until it ends, then run the same command again.",
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
    except (FileNotFoundError, ValueError):  # the holder has not written its note yet
        return "another process holds the lock"
    return (
        f"process {holder['pid']} ({holder['command']}), thread {holder['thread']}, "
        f"has held the lock since {holder['since']}"
    )
