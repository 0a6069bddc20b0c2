"""How the demo speaks: a heading per chapter, one line per step with its seconds, and what the steps took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console


@dataclass
class Step:
    """A step being told; `says` is the line that stands when it is done."""

    says: str


@dataclass
class Narrator:
    console: Console
    timings_s: dict[str, float] = field(default_factory=dict)

    def chapter(self, title: str) -> None:
        self.console.print(f"\n[bold]{title}[/bold]")

    @contextlib.contextmanager
    def step(self, name: str, doing: str) -> Iterator[Step]:
        """Show `doing` while the block runs, then the step's own line and its seconds, kept as `timings_s[name]`."""
        started = time.perf_counter()
        step = Step(doing)
        with self.console.status(f"{doing} …") if self.console.is_terminal else contextlib.nullcontext():
            yield step
        seconds = time.perf_counter() - started
        self.timings_s[name] = round(self.timings_s.get(name, 0.0) + seconds, 2)
        self.console.print(f"  [green]✓[/green] {step.says} [dim]{seconds:.1f} s[/dim]", highlight=False)
