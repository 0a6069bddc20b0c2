"""The quarantine: refused images with the reason. Bytes and row are kept in `quarantine/`, so nothing is lost."""

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
    row: dict[str, Any]  # the row of the annotations


def entries(workspace: Workspace) -> list[Quarantined]:
    """Return all entries, ordered by delivery path."""
    folder = workspace.quarantine
    notes = sorted(folder.glob("*.json")) if folder.exists() else []
    contents = (read_json(note, next_step="Delete it and ingest its source again.") for note in notes)
    return sorted((Quarantined(**one) for one in contents), key=lambda entry: entry.path)


def put(workspace: Workspace, row: dict[str, Any], reason: str, data: bytes, *, durable: bool = True) -> Quarantined:
    """Quarantine an image. Repeating it changes nothing. `durable` as in `models.files.write_whole`."""
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
    """Return the entries with these delivery paths whose reason contains the text, or all with that reason if no paths are
    given. A path may have several entries.

    Raises BadInput for an unknown path, if nothing matches, and if neither is given.
    """
    if not paths and not reason:
        raise BadInput(
            "No entries were chosen.", next_step="Give paths or --reason TEXT; list them: defectloop quarantine list"
        )
    with line_lock(workspace, workspace.params().line, LOCK_WAIT_S):
        tidy(workspace)
        present = entries(workspace)
    names = {entry.path for entry in present}
    unknown = [path for path in paths if path not in names]
    if unknown:
        raise BadInput(f"{unknown[0]} is not in quarantine.", next_step="List the entries: defectloop quarantine list")
    chosen = because([entry for entry in present if not paths or entry.path in paths], reason)
    if not chosen:
        raise BadInput(
            f"None of {len(paths) or len(present)} entries has a reason that contains {reason!r}.",
            next_step="List the reasons: defectloop quarantine list",
        )
    return chosen


def because(entries: Sequence[Quarantined], text: str | None) -> list[Quarantined]:
    """Return the entries whose reason contains the text, ignoring case."""
    return [entry for entry in entries if (text or "").casefold() in entry.reason.casefold()]


def by_reason(entries: Sequence[Quarantined]) -> dict[str, list[Quarantined]]:
    """Group the entries by reason, without details that differ between images. Most frequent first."""
    groups: dict[str, list[Quarantined]] = {}
    for entry in entries:
        kinds = (part.split(" (")[0].split(": the same")[0] for part in entry.reason.split("; "))
        groups.setdefault("; ".join(dict.fromkeys(kinds)), []).append(entry)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def drop(workspace: Workspace, entry: Quarantined) -> None:
    """Delete one entry. The note is deleted first, so that a kill leaves no entry without bytes (`tidy` removes them)."""
    with line_lock(workspace, workspace.params().line, LOCK_WAIT_S):
        for name in (f"{entry.file}.json", entry.file):
            (workspace.quarantine / name).unlink(missing_ok=True)


def tidy(workspace: Workspace) -> None:
    """Remove what killed commands left: partial files, and bytes without a note.

    The caller holds the line's lock, because `put` writes the bytes before the note.
    """
    if not workspace.quarantine.exists():
        return
    remove_partial(workspace.quarantine)
    present = {path.name for path in workspace.quarantine.iterdir()}
    for name in present:
        if re.match(r"[0-9a-f]{16}-", name) and not name.endswith(".json") and f"{name}.json" not in present:
            (workspace.quarantine / name).unlink()
