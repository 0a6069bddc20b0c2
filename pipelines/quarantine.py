"""What was refused, with the reason: bytes and row are kept in `quarantine/`, so that nothing is lost."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
    folder.mkdir(exist_ok=True)
    path = f"{row['source']}/{row['source_path']}"
    file = f"{row['image'][:16]}-{Path(row['source_path']).name}"
    entry = Quarantined(path=path, reason=reason, image=row["image"], file=file, row=row)
    _write(folder / file, data)
    _write(folder / f"{file}.json", json.dumps(asdict(entry), ensure_ascii=False, indent=1).encode())
    return entry


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as sink:
        sink.write(data)
        sink.flush()
        os.fsync(sink.fileno())
    partial.replace(path)
