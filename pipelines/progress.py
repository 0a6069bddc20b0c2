"""Progress messages of long work, on standard error. Standard output is reserved for answers."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator

COPY = "DEFECTLOOP_PROGRESS_COPY"  # file that gets every line too; inherited by stages, set by `flows.run_log`


def say(text: str) -> None:
    """Print one line."""
    sys.stderr.write(f"    {text}\n")
    sys.stderr.flush()
    if COPY in os.environ:
        with open(os.environ[COPY], "a", encoding="utf-8") as copy:
            copy.write(f"{text}\n")


@functools.cache
def say_once(text: str) -> None:
    """Print one line, unless this process has printed it before."""
    say(text)


@contextlib.contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar if standard error is a terminal. Yields a function that sets the number of finished items."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("    {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(title, total=total)
        yield lambda done: shown.update(task, completed=done)
