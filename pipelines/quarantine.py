"""What was refused, with the reason: bytes and row are kept in `quarantine/`, so that nothing is lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.errors import BadInput
from models.files import write_whole
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Quarantined:
    path: str  # as it was delivered: SOURCE/NAME
    reason: str
    image: str  # SHA-256 of the bytes
    file: str  # below quarantine/
    row: dict[str, Any]  # what the annotations said


def entries(workspace: Workspace) -> list[Quarantined]:
    """Everything in quarantine, in the order of delivery path."""
    folder = workspace.quarantine
    notes = sorted(folder.glob("*.json")) if folder.exists() else []
    return sorted((Quarantined(**json.loads(note.read_text())) for note in notes), key=lambda entry: entry.path)


def put(workspace: Workspace, row: dict[str, Any], reason: str, data: bytes) -> Quarantined:
    """Keep one refused image. The same delivery put twice is one entry."""
    folder = workspace.quarantine
    path = f"{row['source']}/{row['source_path']}"
    file = f"{row['image'][:16]}-{Path(row['source_path']).name}"
    entry = Quarantined(path=path, reason=reason, image=row["image"], file=file, row=row)
    write_whole(folder / file, data)
    write_whole(folder / f"{file}.json", json.dumps(asdict(entry), ensure_ascii=False, indent=1).encode())
    return entry


def named(workspace: Workspace, paths: Sequence[str]) -> list[Quarantined]:
    """The entries of these delivery paths. Raises BadInput when one is unknown, or none is named."""
    by_path = {entry.path: entry for entry in entries(workspace)}
    unknown = [path for path in paths if path not in by_path]
    if unknown or not paths:
        raise BadInput(
            f"Quarantine has no {unknown[0]}." if unknown else "No entry is named.",
            next_step="defectloop quarantine list",
        )
    return [by_path[path] for path in dict.fromkeys(paths)]


def because(workspace: Workspace, text: str) -> list[Quarantined]:
    """The entries whose reason holds the text."""
    return [entry for entry in entries(workspace) if text in entry.reason]


def counted(found: Sequence[Quarantined]) -> dict[str, int]:
    """How many there are of each reason, the most frequent first; what differs from image to image is cut off."""
    return dict(Counter(entry.reason.split(" (")[0].split(": the same")[0] for entry in found).most_common())


def drop(workspace: Workspace, entry: Quarantined) -> None:
    """Forget one entry: the note first, so that a kill between leaves no entry without bytes."""
    for name in (f"{entry.file}.json", entry.file):
        (workspace.quarantine / name).unlink(missing_ok=True)
