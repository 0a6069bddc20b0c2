"""docs/benchmarks.md and docs/benchmarks-data.md: one section a benchmark, each with the machine and the day."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "benchmarks-data.md"
DETECTORS = DOCS / "benchmarks.md"
REPLACED = "each section is replaced when its benchmark runs again."
HEADS = {
    PAGE.name: f"""# Benchmarks: from images to a snapshot

Written by `make bench`; {REPLACED} Small synthetic images: what is measured is
what each image costs besides its pixels.
""",
    DETECTORS.name: f"""# Benchmarks: detectors

Written by `make bench-models DATASETS=FOLDER` and `make bench-service`; {REPLACED} Real images, split by part, and
every number from the exported file on test parts, as production would get it.
""",
}


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown, columns aligned so that it reads well in a terminal too."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in [header, *rows]]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def settings(changes: Mapping[str, Any]) -> str:
    """Return a sentence with the settings of params.yaml that a benchmark changes."""
    chosen = ", ".join(f"`{name}: {json.dumps(value).replace(chr(34), '')}`" for name, value in _flat(changes))
    return f"Settings that differ from a new workspace's params.yaml: {chosen}."


def _flat(changes: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in changes.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def write(title: str, text: str, page: Path = PAGE, changes: Mapping[str, Any] | None = None) -> None:
    """Put the section into the page, in the place of the one with the same title, with the settings that it changed."""
    text += f"\n\n{settings(changes)}" if changes else ""
    content = page.read_text() if page.exists() else HEADS.get(page.name, HEADS[PAGE.name])
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
