"""Commands that check the data, and deal with what was refused."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import LISTED, JsonOption, WorkspaceOption, answer, open_workspace

if TYPE_CHECKING:
    from pipelines.image_files.quarantine import Quarantined
    from pipelines.validation.validate import ValidationReport
    from pipelines.workspace import Workspace


def audit(
    hashes: Annotated[
        bool, typer.Option("--hashes", help="Only read every image and mask, and compare it with its hash.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="With --hashes: take originals from the DVC cache or remote.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for duplicates, leaks, label errors and gaps in the whole of data/; write a page of pictures. Changes nothing.

    validate, snapshot and training compare files with their hashes too, those that changed since they were last read.

    Example: defectloop audit --workspace bottles
    """
    from models.errors import BadInput
    from pipelines.audit.audit import audit

    if repair and not hashes:
        raise BadInput("--repair goes with --hashes.", next_step="defectloop audit --hashes --repair")
    place = open_workspace(workspace)
    if hashes:
        _audit_hashes(place, repair=repair, as_json=as_json)
        return
    report = audit(place, judge_labels=True)
    lines = [f"{report.images} images, {len(report.findings)} findings"]
    lines += [f"  {item.severity:8} {item.title}" for item in report.findings]
    answer(report, "\n".join([*lines, f"Pictures: {place.root / report.page}"]), as_json=as_json)


def _audit_hashes(place: Workspace, *, repair: bool, as_json: bool) -> None:
    from models.errors import BadData
    from pipelines.image_files import file_hashes, originals

    if repair:
        report = originals.repair(place)
        if report.lost:
            raise BadData(
                f"{len(report.repaired)} files brought back; {len(report.lost)} are in no snapshot "
                f"(first: data/{report.lost[0]}).",
                next_step="Ingest their sources again.",
            )
        text = f"{report.checked} files read, {len(report.repaired)} brought back"
        if report.annotations_of:
            text += (
                f"\nThe annotations are those of {report.annotations_of} again: ingest what came since, then validate"
            )
        answer(report, text, as_json=as_json)
        return
    hashes = file_hashes.check(place, every_file=True)
    if hashes.altered or hashes.missing:
        raise file_hashes.complaint(place, hashes)
    answer(hashes, f"{hashes.checked} files read: all hold the bytes that were ingested", as_json=as_json)


def validate(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Check data/ against its contract; rows that fail go to quarantine/ with the reason.

    Example: defectloop validate --workspace bottles
    """
    from pipelines.validation.validate import validate

    place = open_workspace(workspace)
    report = validate(place)
    lines = _validated(report)
    lines += [f"Data Docs: {place.root / report.docs}", f"Pictures: {place.root / report.audit_page}"]
    answer(report, "\n".join([*lines, "Next: defectloop snapshot"]), as_json=as_json)


def _validated(report: ValidationReport) -> list[str]:
    from pipelines.validation.validate import summary

    lines = [summary(report)]
    lines += [f"  quarantined {row.path}: {row.reason}" for row in report.quarantined[:LISTED]]
    if len(report.quarantined) > LISTED:
        lines.append(f"  … and {len(report.quarantined) - LISTED} more: defectloop quarantine list")
    for one in report.warnings:
        counted = (
            f": {one.n_images} image{'' if one.n_images == 1 else 's'}, first {one.examples[0]}" if one.examples else ""
        )
        lines.append(f"  warning     {one.reason}{counted}")
    lines += [f"  audit       {one}" for one in report.audit]
    if report.typical.ranges:
        lines.append(f"  typical ranges learned from {report.typical.origin}")
    if report.typical.without:
        lines.append(f"  typical range not checked, nothing is known of slice {', '.join(report.typical.without)}")
    if report.typical.unmeasured:
        lines.append(
            f"  typical range not checked for {report.typical.unmeasured} images that an earlier version took in"
        )
    return lines


class QuarantineAction(StrEnum):
    LIST = "list"
    RELEASE = "release"
    DROP = "drop"


def quarantine(
    action: Annotated[QuarantineAction, typer.Argument(help="What to do.")] = QuarantineAction.LIST,
    paths: Annotated[list[str] | None, typer.Argument(help="Entries, as the list names them.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="Only entries whose reason holds this text; without paths, all of them.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="On release: what the part is, good or defect.")] = None,
    reviewer: Annotated[
        str | None, typer.Option(help="On release: who stands behind it, in spite of sizes, depths and typical ranges.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was refused, take entries back into data/ (the next validate checks them again), or delete them.

    With --reviewer they stay in from then on: a person stands behind them. What can't be read or has no label can't.

    Example: defectloop quarantine release --reason "width is not" --reviewer "quality lab"
    """
    from pipelines.image_files import quarantine as stored
    from pipelines.ingest import released

    place = open_workspace(workspace)
    if action is QuarantineAction.LIST:
        entries = stored.because(stored.entries(place), reason)
        answer(entries, _by_reason(entries, whole=reason is not None), as_json=as_json)
        return
    chosen = stored.named(place, paths or [], reason)
    if action is QuarantineAction.DROP:
        for entry in chosen:
            stored.drop(place, entry)
        answer(chosen, f"{len(chosen)} entries deleted", as_json=as_json)
        return
    report = released.release(place, chosen, label=label, reviewer=reviewer)
    answer(report, f"{report.added} images released\nNext: defectloop validate", as_json=as_json)


def _by_reason(entries: list[Quarantined], *, whole: bool) -> str:
    """Grouped for a terminal; the first few of each reason, unless one reason was asked for."""
    from pipelines.image_files.quarantine import by_reason

    lines = []
    for why, members in by_reason(entries).items():
        lines.append(f"{len(members)} {'image' if len(members) == 1 else 'images'}: {why}")
        lines += [f"  {entry.path}: {entry.reason}" for entry in (members if whole else members[:LISTED])]
        if not whole and len(members) > LISTED:
            lines.append(
                f'  … and {len(members) - LISTED} more: defectloop quarantine list --reason "{why.split("; ")[0]}"'
            )
    return "\n".join(lines) or "Nothing in quarantine."
