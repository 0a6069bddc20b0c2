"""Output of the demo: a heading per chapter, one line per step with its duration, and the time line."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


@dataclass
class Step:
    """A running step. `says` is the line to print when it is done."""

    says: str


@dataclass
class Narrator:
    console: Console
    timings_s: dict[str, float] = field(default_factory=dict)
    timeline: list[tuple[float, float, str]] = field(default_factory=list)  # start, end, step
    started: float = field(default_factory=time.perf_counter)

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        yield
        self.timings_s["total"] = round(time.perf_counter() - self.started, 2)

    def chapter(self, title: str) -> None:
        self.console.print(f"\n[bold]{escape(title)}[/bold]")

    def detail(self, text: str) -> None:
        self.console.print(f"    [dim]{escape(text)}[/dim]", soft_wrap=True)

    def track(self, items: Iterable, total: int) -> Iterator[Any]:
        """Yield the items, with a progress bar on a terminal."""
        columns = (TextColumn("   "), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            yield from bar.track(items, total=total)

    @contextlib.contextmanager
    def step(self, name: str, doing: str, *, quiet: bool = False) -> Iterator[Step]:
        """Run the block, then print the step's line and duration. The duration is added to `timings_s[name]`.

        `quiet` is for steps during which child processes write to the terminal; these print a line first.
        """
        started = time.perf_counter()
        step = Step(doing)
        if quiet:
            self.console.print(f"  [dim]… {escape(doing)}[/dim]")
        yield step
        ended = time.perf_counter()
        self.timings_s[name] = round(self.timings_s.get(name, 0.0) + ended - started, 2)
        self.timeline.append((started - self.started, ended - self.started, name.replace("_", " ")))
        self.console.print(
            f"  [green]✓[/green] {escape(step.says)} [dim]{ended - started:.1f} s[/dim]",
            highlight=False,
            soft_wrap=True,
        )
