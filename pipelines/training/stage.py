"""What every stage of `dvc.yaml` shares as a program: errors, one at a time, the end of its parent."""

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
from pipelines import failures, lineage
from pipelines import workspace as workspaces
from pipelines.adapters.dataset_versions import CALLER, INTERRUPTED, REASON
from pipelines.image_files import file_hashes
from pipelines.workspace import Workspace

PARENT_POLL_S = 0.5


def run_stage(main: Callable[[Workspace], None]) -> None:
    """Run a stage's `main` in the workspace of the current directory; an error of ours ends it in words, with its code."""
    private_by_default()
    workspace = workspaces.at(Path.cwd())
    caller = int(os.environ.get(CALLER, os.getppid()))
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    try:
        with _one_at_a_time(workspace):
            lineage.require_unchanged(workspace)
            file_hashes.require(workspace)
            main(workspace)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)  # whoever runs the stage was interrupted too, and says so
    except Exception as raised:
        error = failures.in_words(raised)
        sys.stderr.write(f"✗ {error.message}\n" + (f"  → {error.next_step}\n" if error.next_step else ""))
        if REASON in os.environ:
            with contextlib.suppress(OSError):  # on a full disk the line above has to do
                Path(os.environ[REASON]).write_text(error.message, encoding="utf-8")
        sys.exit(error.exit_code)


@contextlib.contextmanager
def _one_at_a_time(workspace: Workspace) -> Iterator[None]:
    workspace.artifacts.mkdir(exist_ok=True)
    with (workspace.artifacts / ".stage.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _end_with(caller: int) -> None:
    """A stage whose caller was killed must not write beside the next try, even where a shell stands between the two or
    the caller was gone before this program had begun."""
    this = psutil.Process()
    while caller in {ancestor.pid for ancestor in this.parents()}:
        time.sleep(PARENT_POLL_S)
    os._exit(1)
