"""The `ledger` command: verify the hash chain."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import JsonOption, WorkspaceOption, answer, open_workspace

if TYPE_CHECKING:
    from pipelines.ledger.verification import Verified

SHOWN = 50  # problems that are listed; --json has all


class LedgerAction(StrEnum):
    VERIFY = "verify"


def ledger(
    action: Annotated[LedgerAction, typer.Argument(help="What to do.")],
    head: Annotated[
        str | None,
        typer.Option(help="With verify: the hash of a head that was kept; it has to be an entry of the chain still."),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify that no stored row was altered, removed, inserted or moved. Exit code 1 if one was.

    The printed head vouches for everything before it. Keep it where nobody who can write to the ledger can change it, and
    give it to a later verification with --head: otherwise it is not noticed if the latest rows are cut off.

    Example: defectloop ledger verify
    """
    place = open_workspace(workspace)
    from pipelines.ledger import verification
    from pipelines.ledger.ledger import Ledger

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
