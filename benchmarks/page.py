"""docs/benchmarks-data.md: one section a benchmark, each with the machine and the day that it was measured on."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks-data.md"
HEAD = """# Benchmarks: from images to a snapshot

Written by `make bench`; each section is replaced when its benchmark runs again. Small synthetic images: what is measured is
what each image costs besides its pixels.
"""


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown, columns aligned so that it reads well in a terminal too."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in [header, *rows]]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(title: str, text: str, page: Path = PAGE) -> None:
    """Put the section into the page, in the place of the one with the same title."""
    content = page.read_text() if page.exists() else HEAD
    section = f"## {title}\n\n{text}\n\n{_machine()}\n"
    found = re.search(rf"(?ms)^## {re.escape(title)}\n.*?(?=^## |\Z)", content)
    if found:
        content = content[: found.start()] + section + "\n" + content[found.end() :]
    else:
        content = content.rstrip() + "\n\n" + section
    page.write_text(content.rstrip() + "\n")


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    day = datetime.now(UTC).date().isoformat()
    return (
        f"Measured {day} on {os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, "
        f"{platform.system()}, Python {platform.python_version()}."
    )
