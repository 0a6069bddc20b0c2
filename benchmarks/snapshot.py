"""What a snapshot costs: 1,000 images alone, 50,000, and 1,000 more onto 50,000. Run: python -m benchmarks.snapshot

The promise is that adding to a large dataset costs what the addition costs: at most twice the same addition alone.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from benchmarks import page, stock
from pipelines.snapshots import history
from pipelines.snapshots.snapshot import snapshot
from pipelines.validation import validate
from pipelines.workspace import Workspace

MAX_RATIO = 2.0


@dataclass(frozen=True)
class Result:
    """Seconds."""

    alone: list[float]  # a snapshot of the addition in a fresh workspace
    base: float  # the first snapshot of the large dataset
    onto: list[float]  # the addition onto the large dataset
    unchanged: float
    diff: float
    restore: float

    @property
    def ratio(self) -> float:
        return statistics.median(self.onto) / statistics.median(self.alone)


def measure(where: Path, n_base: int, n_more: int, repeats: int) -> Result:
    """The same remote, a folder on the same disk, in every case; medians are taken of `repeats`."""
    _seconds(stock.line_of(where / "warm-up", 20))  # imports and first-time set-up
    line = stock.line_of(where / "base", n_base)
    base = _seconds(line)
    alone, onto = [], []
    for number in range(repeats):  # by turns, so that a machine that gets busy slows both
        alone.append(_seconds(stock.line_of(where / f"alone-{number}", n_more)))
        stock.add(line, n_base + number * n_more, n_more)
        onto.append(_seconds(line))
    unchanged = _seconds(line)
    started = time.perf_counter()
    found = history.diff(line, "1", str(repeats + 1))
    compared = time.perf_counter()
    assert len(found.added) == repeats * n_more
    history.restore(line, "1")
    return Result(alone, base, onto, unchanged, compared - started, time.perf_counter() - compared)


def _seconds(line: Workspace) -> float:
    with mock.patch.object(validate, "require_passed"):  # validation is another benchmark's business
        started = time.perf_counter()
        taken = snapshot(line)
        seconds = time.perf_counter() - started
    print(f"  {taken.tag} of {taken.n_images:,} images: {seconds:.2f} s", file=sys.stderr)
    return seconds


def report(result: Result, n_base: int, n_more: int) -> str:
    def row(what: str, seconds: list[float]) -> list[str]:
        return [what, f"{statistics.median(seconds):.2f}", " ".join(f"{value:.2f}" for value in seconds)]

    rows = [
        row(f"snapshot of {n_more:,} images alone", result.alone),
        row(f"snapshot of {n_base:,} images", [result.base]),
        row(f"snapshot of {n_more:,} more onto {n_base:,}", result.onto),
        row("snapshot of unchanged data", [result.unchanged]),
        row("difference of two snapshots", [result.diff]),
        row("restore of the first", [result.restore]),
    ]
    table = page.table(["step", "median s", "all s"], rows)
    return f"{table}\n\nAdding {n_more:,} to {n_base:,} costs **{result.ratio:.2f} times** what {n_more:,} alone cost."


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=int, default=50_000)
    parser.add_argument("--more", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--where", type=Path, help="a directory for the workspaces; default: a temporary one")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks-data.md")
    given = parser.parse_args(arguments)
    where = Path(tempfile.mkdtemp(prefix="defectloop-bench-", dir=given.where))
    try:
        result = measure(where, given.base, given.more, given.repeats)
    finally:
        shutil.rmtree(where)
    text = report(result, given.base, given.more)
    print(text)
    if given.write:
        page.write("Snapshot", text)
    return 0 if result.ratio <= MAX_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
