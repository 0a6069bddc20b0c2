"""The `ledger` command: verify the hash chain, export a period, delete images whose time is over."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import JsonOption, WorkspaceOption, answer, open_workspace

if TYPE_CHECKING:
    from pipelines.ledger.deletions import Total
    from pipelines.ledger.verification import Verified
    from pipelines.retention.presence import Presence
    from pipelines.retention.retention import Retained

SHOWN = 50  # problems that are listed; --json has all


class LedgerAction(StrEnum):
    VERIFY = "verify"
    EXPORT = "export"
    RETENTION = "retention"


class ExportFormat(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"


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
    format: Annotated[
        ExportFormat, typer.Option(help="With export: files as CSV, or as Parquet with types.")
    ] = ExportFormat.CSV,
    head: Annotated[
        str | None,
        typer.Option(help="With verify: the hash of a head that was kept; it has to be an entry of the chain still."),
    ] = None,
    images: Annotated[
        bool,
        typer.Option("--images", help="With verify: also look for the image of every inspection in the image store."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With retention: only say what would be deleted, and change nothing.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify that no stored row was altered, removed, inserted or moved (exit code 1 if one was), export a period
    for an auditor (tables, and a page to read: summary.html), or delete the images whose time is over (section `retention`
    of service.yaml; their records stay).

    The printed head vouches for everything before it. Keep it where nobody who can write to the ledger can change it, and
    give it to a later verification with --head: otherwise it is not noticed if the latest rows are cut off.

    Example: defectloop ledger verify
    Example: defectloop ledger export audit-march --from 2026-03-01 --to 2026-04-01
    Example: defectloop ledger retention --dry-run
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
        from pipelines.period_summary import summary

        place = open_workspace(workspace)
        with Ledger.open(place.ledger_url) as opened:
            done = export.export(
                opened, place.params().line, since.replace(tzinfo=UTC), until.replace(tzinfo=UTC), folder, format
            )
            page = summary.write(opened, done, folder)
        lines = [f"Line {done.line}, {done.since} to {done.until}"]
        lines += [f"  {table.replace('_', ' '):20} {n}" for table, n in done.rows.items() if n] or ["  nothing"]
        lines += [
            f"head     {done.position} {done.head}",
            f"page     {page}",
            f"Next: defectloop ledger verify {folder}",
        ]
        answer(done, "\n".join(lines), as_json=as_json)
        return
    if since or until:
        raise BadInput(f"--from and --to have no effect with {action}.", next_step="Leave them out.")
    if action is LedgerAction.RETENTION:
        from pipelines.retention import retention

        retained = retention.run(open_workspace(workspace), dry_run=dry_run)
        answer(retained, _retained(retained), as_json=as_json)
        return
    if folder is not None:
        found = export.verify(folder, head)
        answer(found, _verified(found), as_json=as_json)
    else:
        from pipelines.ledger import deletions
        from pipelines.retention import presence

        place = open_workspace(workspace)
        with Ledger.open(place.ledger_url) as opened:
            found = verification.verify(opened, place.params().line, head)
            stored = presence.check(place, opened) if images else None
            gone = deletions.total(opened, place.params().line)
        if stored is not None:
            found = replace(found, problems=(*found.problems, *stored.missing))
        document = asdict(found) | {"images": stored, "deleted_under_retention": gone}
        answer(document, "\n".join([_verified(found), *_images(stored, gone)]), as_json=as_json)
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


def _images(stored: Presence | None, gone: Total) -> list[str]:
    """Format what is known of the images for a terminal."""
    lines = []
    if stored is not None:
        state = f"{len(stored.missing)} missing" if stored.missing else "none missing"
        lines.append(f"images   {stored.present} in the store, {stored.deleted} deleted under retention, {state}")
    if gone.last is not None:
        lines.append(
            f"deleted  {gone.images} images under retention, {_size(gone.bytes)}, the last on {gone.last:%Y-%m-%d}"
        )
    return lines


def _retained(done: Retained) -> str:
    """Format for a terminal."""
    rules = {
        "pass": done.rules.pass_days,
        "review": done.rules.review_days,
        "fail": done.rules.fail_days,
        "rejected": done.rules.rejected_days,
    }
    stated = ", ".join(f"{kind} {f'{days:g} days' if days else 'for ever'}" for kind, days in rules.items())
    lines = [f"Line {done.line} keeps images: {stated}"]
    if done.rules.keeps_everything:
        return "\n".join(
            [*lines, "Nothing is deleted. To change this, set retention in service.yaml (docs/service.md)."]
        )
    verb = "would be deleted" if done.dry_run else "deleted"
    lines += [
        f"  {amount.images} images {verb} ({rule}), {_size(amount.bytes)}" for rule, amount in done.deleted.items()
    ]
    if done.pictures:
        lines.append(f"  {done.pictures} heatmaps of deleted images {verb}")
    lines += [f"  {n} images stay although their time is over: {reason}" for reason, n in done.kept.items()]
    total = sum(amount.images for amount in done.deleted.values())
    if not total and not done.pictures:
        return "\n".join([*lines, "No image is to be deleted."])
    freed = f"{_size(done.bytes)} {'would be freed' if done.dry_run else 'freed'}. Their records stay."
    return "\n".join([*lines, freed + (" To do it: defectloop ledger retention" if done.dry_run else "")])


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
