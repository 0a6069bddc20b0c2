"""What the commands share: options, finding the workspace, and printing the answer."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.characters import shows_all

if TYPE_CHECKING:
    from pipelines.workspace import Workspace

LISTED = 10  # examples of each kind; longer lists would push the summary off the screen

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", help="Directory of the workspace; default: the current one or one of its parents."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
PartFromOption = Annotated[
    str | None,
    typer.Option(help="Regular expression that finds the part's id in a file name; default: ingest.part_from."),
]
AllowOutsideOption = Annotated[
    bool, typer.Option("--allow-outside", help="Also read files outside the folder that links or tables point to.")
]


def open_workspace(directory: Path | None) -> Workspace:
    from pipelines import workspace

    return workspace.find(directory or Path.cwd())


def terminal_width() -> int | None:
    """Return the number of columns of the terminal, or None if standard output is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout and sys.stdout.isatty() else None


def track(items: Iterable[Any], total: int) -> Iterator[Any]:
    """Yield the items and show the progress on standard error."""
    from pipelines import progress

    return progress.track("images", items, total)


def answer(result: Any, text: str, *, as_json: bool) -> None:
    """Print the result: `text` for people, or the complete result as JSON for programs."""
    typer.echo(in_json(result) if as_json else text)


def in_json(result: Any) -> str:
    """Return one line of JSON. Characters that standard output cannot encode are escaped."""
    return json.dumps(plain(result), ensure_ascii=not shows_all())


def plain(value: Any) -> Any:
    """Convert dataclasses, paths, times and NaN to what JSON can express."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
