"""Commands that check the data and manage the quarantine."""

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
        bool, typer.Option("--hashes", help="Only read every image and mask and compare it with its hash.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="With --hashes: restore damaged files from the DVC cache or remote.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for duplicates, leaks, label errors and gaps in data/, and write a page of pictures. Changes nothing.

    validate, snapshot and training also compare files with their hashes, but only files that changed since the last check.

    Example: defectloop audit --workspace bottles
    """
    place = open_workspace(workspace)
    from models.errors import BadInput
    from pipelines import progress
    from pipelines.audit.audit import audit

    if repair and not hashes:
        raise BadInput("--repair needs --hashes.", next_step="defectloop audit --hashes --repair")
    if hashes:
        _audit_hashes(place, repair=repair, as_json=as_json)
        return
    with progress.working("audit"):
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
                f"{len(report.repaired)} files restored; {len(report.lost)} cannot be restored from any snapshot "
                f"(first: data/{report.lost[0]}).",
                next_step="Ingest the deliveries that they came from again.",
            )
        text = f"{report.checked} files read, {len(report.repaired)} restored"
        if report.annotations_of:
            text += f"\nThe annotations were restored from {report.annotations_of}: ingest later deliveries again, "
            text += "then validate"
        answer(report, text, as_json=as_json)
        return
    hashes = file_hashes.check(place, every_file=True)
    if hashes.altered or hashes.missing:
        raise file_hashes.complaint(place, hashes)
    answer(hashes, f"{hashes.checked} files read: all are unchanged since they were ingested", as_json=as_json)


def validate(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Check data/ against the data contract. Images that fail are moved to quarantine/ with the reason.

    Example: defectloop validate --workspace bottles
    """
    place = open_workspace(workspace)
    from pipelines import progress
    from pipelines.validation.validate import validate

    with progress.working("validate"):
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
    for warning in report.warnings:
        images = f"{warning.n_images} image{'' if warning.n_images == 1 else 's'}"
        counted = f": {images}, first {warning.examples[0]}" if warning.examples else ""
        lines.append(f"  warning     {warning.reason}{counted}")
    lines += [f"  audit       {finding}" for finding in report.audit]
    if report.typical.ranges:
        lines.append(f"  typical ranges learned from {report.typical.origin}")
    if report.typical.without:
        lines.append(
            f"  typical range not checked for slices without earlier data: {', '.join(report.typical.without)}"
        )
    if report.typical.unmeasured:
        lines.append(
            f"  typical range not checked for {report.typical.unmeasured} images that an earlier version ingested"
        )
    return lines


class QuarantineAction(StrEnum):
    LIST = "list"
    RELEASE = "release"
    DROP = "drop"


def quarantine(
    action: Annotated[QuarantineAction, typer.Argument(help="What to do.")] = QuarantineAction.LIST,
    paths: Annotated[list[str] | None, typer.Argument(help="Entries, named as in the list.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="Only entries whose reason contains this text; without paths, all of them.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="With release: the label, good or defect.")] = None,
    reviewer: Annotated[
        str | None,
        typer.Option(help="With release: who approves the image in spite of its size, bit depth or typical range."),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List quarantined images, release them into data/ (the next validate checks them again), or delete them.

    Images released with --reviewer are not quarantined again, unless they cannot be decoded or have no label.

    Example: defectloop quarantine release --reason "width is not" --reviewer "quality lab"
    """
    place = open_workspace(workspace)
    from pipelines.image_files import quarantine as stored
    from pipelines.ingest import released

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
    """Format entries for a terminal, grouped by reason. `whole` lists every entry; otherwise the first of each group."""
    from pipelines.image_files.quarantine import by_reason

    lines = []
    for group_reason, members in by_reason(entries).items():
        lines.append(f"{len(members)} {'image' if len(members) == 1 else 'images'}: {group_reason}")
        lines += [f"  {entry.path}: {entry.reason}" for entry in (members if whole else members[:LISTED])]
        if not whole and len(members) > LISTED:
            first_reason = group_reason.split("; ")[0]
            lines.append(f'  … and {len(members) - LISTED} more: defectloop quarantine list --reason "{first_reason}"')
    return "\n".join(lines) or "The quarantine is empty."
