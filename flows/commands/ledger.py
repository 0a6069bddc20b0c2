"""The `ledger` command: verify the hash chain, export a period."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import JsonOption, WorkspaceOption, answer, open_workspace

if TYPE_CHECKING:
    from pipelines.ledger.verification import Verified

SHOWN = 50  # problems that are listed; --json has all


class LedgerAction(StrEnum):
    VERIFY = "verify"
    EXPORT = "export"


def ledger(
    action: Annotated[LedgerAction, typer.Argument(help="What to do.")],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="With export: a new folder. With verify: an export, which needs no ledger."),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option("--from", help="With export: the beginning of the period, in UTC.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", help="With export: the end of the period, in UTC; it is not included.")
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="With verify: the hash of a head that was kept; it has to be an entry of the chain still."),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify that no stored row was altered, removed, inserted or moved (exit code 1 if one was), or export a period as CSV
    for an auditor.

    The printed head vouches for everything before it. Keep it where nobody who can write to the ledger can change it, and
    give it to a later verification with --head: otherwise it is not noticed if the latest rows are cut off.

    Example: defectloop ledger verify
    Example: defectloop ledger export audit-march --from 2026-03-01 --to 2026-04-01
    """
    from models.errors import BadInput
    from pipelines.ledger import export, verification
    from pipelines.ledger.ledger import Ledger

    if action is LedgerAction.EXPORT:
        if folder is None or since is None or until is None:
            raise BadInput(
                "An export needs a folder and a period.",
                next_step="defectloop ledger export DIR --from 2026-03-01 --to 2026-04-01",
            )
        place = open_workspace(workspace)
        with Ledger.open(place.ledger_url) as opened:
            done = export.export(
                opened, place.params().line, since.replace(tzinfo=UTC), until.replace(tzinfo=UTC), folder
            )
        lines = [f"Line {done.line}, {done.since} to {done.until}"]
        lines += [f"  {table.replace('_', ' '):20} {n}" for table, n in done.rows.items() if n] or ["  nothing"]
        lines += [f"head     {done.position} {done.head}", f"Next: defectloop ledger verify {folder}"]
        answer(done, "\n".join(lines), as_json=as_json)
        return
    if since or until:
        raise BadInput("--from and --to have no effect with verify.", next_step="Leave them out.")
    if folder is not None:
        found = export.verify(folder, head)
    else:
        place = open_workspace(workspace)
        with Ledger.open(place.ledger_url) as opened:
            found = verification.verify(opened, place.params().line, head)
    answer(found, _verified(found), as_json=as_json)
    if found.problems:
        raise typer.Exit(1)


def _verified(found: Verified) -> str:
    """Format for a terminal."""
    if not found.entries and not found.problems:
        return f"The chain of line {found.line} has no entries yet."
    lines = [f"✗ {problem}" for problem in found.problems[:SHOWN]]
    if len(found.problems) > SHOWN:
        lines.append(f"… and {len(found.problems) - SHOWN} more: --json lists all")
    state = f"{len(found.problems)} problems" if found.problems else "unaltered"
    lines.append(
        f"line     {found.line}: {found.rows} rows, {found.entries} entries since {found.began_at} UTC: {state}"
    )
    if found.kept_head_at is not None:
        lines.append(f"kept     the head that was kept is entry {found.kept_head_at}, and still there")
    return "\n".join([*lines, f"head     {found.position} {found.head}"])
