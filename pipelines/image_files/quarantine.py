"""What was refused, with the reason: bytes and row are kept in `quarantine/`, so that nothing is lost."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models import names
from models.errors import BadInput
from models.files import read_json, remove_partial, write_whole
from pipelines.locks import line_lock
from pipelines.workspace import Workspace

LOCK_WAIT_S = 600.0


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
    contents = (read_json(note, next_step="Delete it and ingest its source again.") for note in notes)
    return sorted((Quarantined(**one) for one in contents), key=lambda entry: entry.path)


def put(workspace: Workspace, row: dict[str, Any], reason: str, data: bytes, *, durable: bool = True) -> Quarantined:
    """Keep one refused image. The same delivery put twice is one entry. `durable` as in `models.files.write_whole`."""
    folder = workspace.quarantine
    path = f"{row['source']}/{row['source_path']}"
    file = names.for_file(f"{row['image'][:16]}-{Path(row['source_path']).name}")
    if _of_another(folder / f"{file}.json", path):  # the same bytes under the same name in two deliveries
        file = names.for_file(f"{row['image'][:16]}-{hashlib.sha256(path.encode()).hexdigest()[:8]}-{Path(path).name}")
    entry = Quarantined(path=path, reason=reason, image=row["image"], file=file, row=row)
    note = json.dumps(asdict(entry), ensure_ascii=False, indent=1).encode()
    write_whole(folder / file, data, durable=durable)
    write_whole(folder / f"{file}.json", note, durable=durable)
    return entry


def _of_another(note: Path, path: str) -> bool:
    return note.exists() and json.loads(note.read_text(encoding="utf-8"))["path"] != path


def named(workspace: Workspace, paths: Sequence[str], reason: str | None = None) -> list[Quarantined]:
    """The entries of these delivery paths whose reason holds the text, or all with that reason where none is named.

    Several images may have come under one path: two folders of the same name, or a file that was replaced.

    Raises BadInput when a path is unknown, when nothing is left, and when neither is given.
    """
    if not paths and not reason:
        raise BadInput("No entry is named.", next_step="Name paths, or --reason TEXT: defectloop quarantine list")
    with line_lock(workspace, workspace.params().line, LOCK_WAIT_S):
        tidy(workspace)
        present = entries(workspace)
    names = {entry.path for entry in present}
    unknown = [path for path in paths if path not in names]
    if unknown:
        raise BadInput(f"Quarantine has no {unknown[0]}.", next_step="defectloop quarantine list")
    chosen = because([entry for entry in present if not paths or entry.path in paths], reason)
    if not chosen:
        raise BadInput(
            f"Of {len(paths) or len(present)} entries none was refused for {reason!r}.",
            next_step="defectloop quarantine list",
        )
    return chosen


def because(entries: Sequence[Quarantined], text: str | None) -> list[Quarantined]:
    """Those whose reason holds the text, whatever the case of its letters."""
    return [entry for entry in entries if (text or "").casefold() in entry.reason.casefold()]


def by_reason(entries: Sequence[Quarantined]) -> dict[str, list[Quarantined]]:
    """The entries by reason without what differs from image to image, the most frequent first."""
    groups: dict[str, list[Quarantined]] = {}
    for entry in entries:
        kinds = (part.split(" (")[0].split(": the same")[0] for part in entry.reason.split("; "))
        groups.setdefault("; ".join(dict.fromkeys(kinds)), []).append(entry)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def drop(workspace: Workspace, entry: Quarantined) -> None:
    """Forget one entry: the note first, so that a kill between leaves no entry without bytes (`tidy` takes the bytes)."""
    with line_lock(workspace, workspace.params().line, LOCK_WAIT_S):
        for name in (f"{entry.file}.json", entry.file):
            (workspace.quarantine / name).unlink(missing_ok=True)


def tidy(workspace: Workspace) -> None:
    """Remove what killed commands left: half a file, and bytes whose note is gone or was never written.

    Needs the line's lock: whoever puts an entry writes the bytes first.
    """
    if not workspace.quarantine.exists():
        return
    remove_partial(workspace.quarantine)
    present = {path.name for path in workspace.quarantine.iterdir()}
    for name in present:
        if re.match(r"[0-9a-f]{16}-", name) and not name.endswith(".json") and f"{name}.json" not in present:
            (workspace.quarantine / name).unlink()
