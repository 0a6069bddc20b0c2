"""Runs a stage of `dvc.yaml`: reports errors, prevents concurrent stages, and ends with its caller."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from models.files import private_by_default
from pipelines import failures, lineage, progress
from pipelines import workspace as workspaces
from pipelines.adapters.dataset_versions import CALLER, INTERRUPTED, REASON
from pipelines.image_files import file_hashes
from pipelines.workspace import Workspace

PARENT_POLL_S = 0.5


def run_stage(main: Callable[[Workspace], None]) -> None:
    """Run a stage's `main` in the workspace of the current directory. Errors are printed and set the exit code."""
    private_by_default()
    workspace = workspaces.at(Path.cwd())
    caller = int(os.environ.get(CALLER, os.getppid()))
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    try:
        with progress.working(main.__module__.rpartition(".")[2]), _one_at_a_time(workspace):
            lineage.require_unchanged(workspace)
            file_hashes.require(workspace)
            main(workspace)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)  # the caller was interrupted too, and prints a message
    except Exception as raised:
        error = failures.in_words(raised)
        sys.stderr.write(f"✗ {error.message}\n" + (f"  → {error.next_step}\n" if error.next_step else ""))
        if REASON in os.environ:
            with contextlib.suppress(OSError):  # on a full disk, the printed error must suffice
                Path(os.environ[REASON]).write_text(error.message, encoding="utf-8")
        sys.exit(error.exit_code)


@contextlib.contextmanager
def _one_at_a_time(workspace: Workspace) -> Iterator[None]:
    workspace.artifacts.mkdir(exist_ok=True)
    with (workspace.artifacts / ".stage.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _end_with(caller: int) -> None:
    """End this stage when its caller is gone, so that it does not write at the same time as the next attempt. Also works
    with a shell between the two, and if the caller ended before this program started."""
    this = psutil.Process()
    while caller in {ancestor.pid for ancestor in this.parents()}:
        time.sleep(PARENT_POLL_S)
    os._exit(1)
