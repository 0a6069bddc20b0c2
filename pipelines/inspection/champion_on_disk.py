"""The champion that inspects: the registry's, or, if the registry does not answer in time, the latest one on this disk.

Inspection must not wait for the registry. Withdrawn versions are never used, because withdrawals are in the ledger.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from models.errors import Unreachable
from models.files import write_whole
from pipelines import deadlines
from pipelines.adapters import model_registry
from pipelines.adapters.model_registry import FILE, ModelVersion, sha256
from pipelines.ledger import promotions, withdrawals
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Promotion, now
from pipelines.promotion import next_steps
from pipelines.workspace import Workspace

NOTE = "champion.json"  # beside a version's file: it was champion, and when the registry last confirmed that

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OnDisk:
    version: str
    path: Path
    confirmed_at: datetime  # when the registry last named it
    unconfirmed: str | None = None  # why the registry did not confirm it now


def load(workspace: Workspace, line: str) -> OnDisk:
    """Return the champion's verified file; if the registry does not answer, the former champion on this disk, `unconfirmed`.

    Raises NotReady if there is no champion, and Unreachable if no former champion may be used either.
    """
    earlier = _usable_champion(workspace, line)
    try:
        with deadlines.together(deadlines.verdict_s() if earlier else deadlines.call_s()):
            champion = model_registry.champion(workspace, line)
            if champion is None:
                raise next_steps.no_champion(line, _last_refusal(workspace, line))
            path = model_registry.download(workspace, champion)
    except Unreachable as error:
        if earlier is None:
            raise
        return replace(earlier, unconfirmed=error.message)
    return _noted(champion, path)


def warn_if_unconfirmed(champion: OnDisk) -> None:
    if champion.unconfirmed:
        log.warning(
            "%s Inspecting with version %s, the champion of %s UTC.",
            champion.unconfirmed,
            champion.version,
            f"{champion.confirmed_at:%Y-%m-%d %H:%M}",
        )


def _last_refusal(workspace: Workspace, line: str) -> Promotion | None:
    with Ledger.open(workspace.ledger_url) as ledger:
        return next((one for one in reversed(promotions.all_of(ledger, line)) if one.kind == "refuse"), None)


def _noted(champion: ModelVersion, path: Path) -> OnDisk:
    confirmed = OnDisk(champion.version, path, now())
    note = {"line": champion.line, "version": champion.version, "confirmed_at": confirmed.confirmed_at.isoformat()}
    write_whole(path.with_name(NOTE), json.dumps(note).encode(), durable=False)
    return confirmed


def _usable_champion(workspace: Workspace, line: str) -> OnDisk | None:
    """Return the former champion on this disk that may be used: that of the ledger's last decision, or else the one that was
    confirmed last. None if there is none."""
    on_disk = _on_disk(workspace, line)
    if not on_disk:
        return None
    with Ledger.open(workspace.ledger_url) as ledger:
        decided = [
            one for one in promotions.all_of(ledger, line) if one.kind in promotions.CHANGES and one.state == "done"
        ]
        on_disk = [one for one in on_disk if withdrawals.of(ledger, line, one.version, one.path.parent.name) is None]
    named = decided[-1].version if decided else None
    on_disk.sort(key=lambda one: (one.version == named, one.confirmed_at), reverse=True)
    return next((one for one in on_disk if sha256(one.path) == one.path.parent.name), None)


def _on_disk(workspace: Workspace, line: str) -> list[OnDisk]:
    champions = []
    for note in (workspace.state / "models").glob(f"*/{NOTE}"):
        kept = json.loads(note.read_text())
        path = note.with_name(FILE)
        if kept["line"] == line and path.is_file():
            champions.append(OnDisk(kept["version"], path, datetime.fromisoformat(kept["confirmed_at"])))
    return champions
