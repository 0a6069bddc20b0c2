"""Progress of long work, on standard error. Standard output is reserved for answers.

A terminal gets a progress bar. A log gets a line every ten seconds: which work runs, how far it is, and what is left.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

EVERY_S = 10.0
T = TypeVar("T")

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
def working(name: str) -> Iterator[None]:
    """Name the work of the block (`train`, `audit`) in the lines of a log."""
    with _listed(_Work(name)):
        yield


@contextlib.contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how many of `total` items are finished. Yields a function that sets this number."""
    work = _Work(title, total)

    def count(done: int) -> None:
        work.done = done

    with _listed(work):
        if not _is_terminal():
            yield count
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("    {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
            task = shown.add_task(title, total=total)
            yield lambda done: shown.update(task, completed=done)


def track(title: str, items: Iterable[T], total: int) -> Iterator[T]:
    """Yield the items and show how many were taken."""
    with bar(title, total) as show:
        for number, item in enumerate(items, start=1):
            yield item
            show(number)


@dataclass
class _Work:
    title: str
    total: int | None = None
    done: int = 0
    began: float = field(default_factory=time.monotonic)


_running: list[_Work] = []  # the outermost first


@contextlib.contextmanager
def _listed(work: _Work) -> Iterator[None]:
    """Count the work as running. Without a terminal, the outermost work of a process starts the thread that writes lines."""
    ended, thread = threading.Event(), None
    if not _running and not _is_terminal():
        thread = threading.Thread(target=_write_log, args=(ended,), name="progress", daemon=True)
        thread.start()
    _running.append(work)
    try:
        yield
    finally:
        ended.set()
        _running.remove(work)
        if thread is not None:
            thread.join()


def _write_log(ended: threading.Event) -> None:
    while not ended.wait(EVERY_S):
        with contextlib.suppress(OSError, ValueError):  # whoever read the log may have gone
            running = list(_running)
            if running:
                sys.stderr.write(f"    {line(running, time.monotonic())}\n")
                sys.stderr.flush()


def line(running: list[_Work], now: float) -> str:
    """Return the line about nested works, the outermost first: `train, features: 120 of 645, about 35 s left`. Pure."""
    title = ", ".join(dict.fromkeys(work.title for work in running))
    spent = f"{_duration(now - running[0].began)} so far"
    for work in reversed(running):
        if work.total and work.done:
            left = (now - work.began) / work.done * (work.total - work.done)
            return f"{title}: {work.done} of {work.total}, about {_duration(left)} left, {spent}"
    return f"{title}: {spent}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
