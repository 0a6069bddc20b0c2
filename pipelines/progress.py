"""What long work tells people while it runs, on standard error; standard output stays free for answers."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


def say(text: str) -> None:
    """One line."""
    sys.stderr.write(f"    {text}\n")
    sys.stderr.flush()


@functools.cache
def say_once(text: str) -> None:
    """One line, the first time that this process says it."""
    say(text)


@contextlib.contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere; yields the function that sets how many are done."""
    columns = (TextColumn("    {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(title, total=total)
        yield lambda done: shown.update(task, completed=done)
