"""What every stage of `dvc.yaml` shares as a program: errors, one at a time, the end of its parent, progress."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from models.errors import DefectloopError
from pipelines import lineage
from pipelines import workspace as workspaces
from pipelines.adapters.dataset_versions import CALLER, REASON
from pipelines.workspace import Workspace

PARENT_POLL_S = 0.5


def run_stage(main: Callable[[Workspace], None]) -> None:
    """Run a stage's `main` in the workspace of the current directory; an error of ours ends it in words, with its code."""
    workspace = workspaces.at(Path.cwd())
    caller = int(os.environ.get(CALLER, os.getppid()))
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    try:
        with _one_at_a_time(workspace):
            lineage.require_unchanged(workspace)
            main(workspace)
    except DefectloopError as error:
        sys.stderr.write(f"✗ {error.message}\n" + (f"  → {error.next_step}\n" if error.next_step else ""))
        if REASON in os.environ:
            Path(os.environ[REASON]).write_text(error.message)
        sys.exit(error.exit_code)


@contextlib.contextmanager
def output_directory(path: Path) -> Iterator[Path]:
    """A directory to fill, which replaces `path` only when the block succeeds."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(path, ignore_errors=True)
    partial.replace(path)


def say(text: str) -> None:
    """One line for people; standard output stays free for answers."""
    sys.stderr.write(f"    {text}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere; yields the function that sets how many are done."""
    columns = (TextColumn("    {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


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
