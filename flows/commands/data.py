"""Commands from a folder of images to a snapshot."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import (
    AllowOutsideOption,
    JsonOption,
    PartFromOption,
    WorkspaceOption,
    answer,
    open_workspace,
    plain,
    track,
)

if TYPE_CHECKING:
    from pipelines.ingest.formats import Recognised
    from pipelines.ingest.ingest import IngestReport
    from pipelines.ingest.preview import Preview
    from pipelines.quarantine import Quarantined
    from pipelines.validate import ValidationReport
    from pipelines.workspace import Workspace

LISTED = 10  # of each kind, where thousands would scroll away what matters


def init(
    directory: Annotated[Path, typer.Argument(help="Where the workspace shall be; made when absent.")],
    line: Annotated[str, typer.Option(help="Name of the production line: up to 255 printable characters.")],
    as_json: JsonOption = False,
) -> None:
    """Make a workspace: a git + DVC repository with params.yaml and dvc.yaml.

    Example: defectloop init bottles --line bottling-3
    """
    from pipelines.initialise import init

    workspace = init(directory, line)
    text = f"Workspace for line {line} in {workspace.root}\nNext: defectloop ingest FOLDER --workspace {directory}"
    answer({"workspace": workspace.root, "line": line}, text, as_json=as_json)


def ingest(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(help="A folder, a manifest, a COCO or Label Studio file, or elpv (the example's images).")
    ],
    format: Annotated[
        str, typer.Option(help="auto, folder, mvtec, masks, voc, coco, yolo, label-studio, manifest or elpv.")
    ] = "auto",
    line: Annotated[str | None, typer.Option(help="Refuse, should the workspace be another line's.")] = None,
    extract: Annotated[
        bool, typer.Option("--extract", help="The source is an archive: zip, or tar in any form.")
    ] = False,
    part_from: PartFromOption = None,
    allow_outside: AllowOutsideOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what was recognised and write nothing.")] = False,
    workspace: WorkspaceOption = None,
    slice: Annotated[str | None, typer.Option(help="A group worth measuring alone: material, light, camera.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Take images with their ground truth into data/. A second ingest of the same source adds nothing.

    Nothing outside the delivery's folder is read, whatever names it, unless --allow-outside.

    Example: defectloop ingest photos/ --slice brushed-steel
    """
    from dataclasses import replace

    from models import names
    from models.errors import BadInput
    from pipelines import part_names
    from pipelines.ingest import archives, formats, preview
    from pipelines.ingest.ingest import take_in

    place = open_workspace(workspace)
    if format not in set(formats.Format):
        raise BadInput(f"There is no format {format!r}.", next_step=f"Formats: {', '.join(formats.Format)}.")
    if line is not None and line != place.params().line:
        raise BadInput(
            f"{place.root} belongs to line {place.params().line}, not to {line}.",
            next_step=f"defectloop init DIR --line {line}, or name its workspace with --workspace.",
        )
    rules = place.params().ingest
    named = part_names.pattern(part_from, rules.part_from)
    delivery = context.with_resource(archives.extracted(place, Path(source))) if extract else None
    where = str(delivery.path) if delivery else source
    chosen, opened = formats.read(
        where,
        rules.split,
        format=formats.Format(format),
        slice=slice,
        parts=named,
        allow_outside=allow_outside,
    )
    if delivery:
        opened = replace(opened, name=delivery.name)  # not of the temporary folder: a second ingest must know it again
        for inside in delivery.nested:
            typer.echo(f"  not extracted, an archive inside: {names.shown(inside)}", err=True)
    found = formats.count(chosen, opened)
    if not as_json:
        typer.echo(_recognised(found))
    if dry_run:
        foreseen = preview.preview(place, opened, track=track)
        answer(plain(found) | {"grouping": plain(foreseen)}, "\n".join(_foreseen(foreseen)), as_json=as_json)
        return
    report = take_in(place, opened, track=track)
    text = "\n".join([*_ingested(report), "Next: defectloop validate"])
    answer(plain(report) | {"recognised": plain(found)}, text, as_json=as_json)


def _ingested(report: IngestReport) -> list[str]:
    """What changed, and what stayed although the delivery says otherwise."""
    text = f"{report.added} added, {report.relabelled} relabelled, {report.already_present} already present, "
    text += f"{len(report.quarantined)} quarantined"
    text += f"; {report.redrawn} with new masks or boxes" if report.redrawn else ""
    text += f"; {report.parted} whose part is stated now" if report.parted else ""
    lines = [text]
    if report.grouped:
        lines.append(
            f"  {report.grouped} share a part with an image that looks the same (at most {report.largest_group} to a part)"
        )
    if report.alike:
        lines.append(_look_alike(report.alike))
    if report.outdated:
        lines.append(f"  {len(report.outdated)} keep what was said about them later (first: {report.outdated[0]})")
    if report.unparted:
        lines.append(
            f"  {len(report.unparted)} keep their part, though the delivery states another one: somebody stated it, or its "
            f"images are in different splits (first: {report.unparted[0]})"
        )
    return lines


def _foreseen(grouping: Preview) -> list[str]:
    """What look-alikes would become, with examples."""
    lines = []
    if grouping.joined:
        lines.append(
            f"  {grouping.joined} would share a part with an image that looks the same (parts: {grouping.groups}, "
            f"the largest with {grouping.largest} images)"
        )
        lines += [f"    for example {', '.join(names)}" for names in grouping.examples]
    if grouping.alike:
        lines.append(_look_alike(grouping.alike))
    return lines or ["  no images would share a part because they look the same"]


def _look_alike(images: int) -> str:
    return (
        f"  your parts look alike: {images} images look like another one that may show a different part, and nothing was "
        "grouped among them. If parts were photographed several times, state them: --part-from, or a manifest's column part"
    )


def _recognised(found: Recognised) -> str:
    """What a person reads before anything is written: the counts, the classes, and what is not as one may expect."""
    text = (
        f"{found.format}: {found.images} images, {found.labelled} labelled, {found.masks} masks, {found.boxes} boxes, "
    )
    text += f"{found.parts} parts"
    if found.without_part:
        text += f"; {found.without_part} images whose part nobody said, look-alikes among them will share one"
    lines = [text, "  classes: " + (", ".join(f"{n} {kind}" for kind, n in found.classes.items()) or "none")]
    lines += [f"  {len(names)} × {what} (first: {names[0]})" for what, names in found.remarks.items()]
    if found.outside:
        lines.append(f"  {len(found.outside)} files outside the delivery's folder are read:")
        lines += [f"    {path}" for path in found.outside[:LISTED]]
        lines += [f"    … and {len(found.outside) - LISTED} more (--json lists them all)"] * (
            len(found.outside) > LISTED
        )
    return "\n".join(lines)


def validate(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Check data/ against its contract; rows that fail go to quarantine/ with the reason.

    Example: defectloop validate --workspace bottles
    """
    from pipelines.validate import validate

    place = open_workspace(workspace)
    report = validate(place)
    lines = _validated(report)
    lines += [f"Data Docs: {place.root / report.docs}", f"Pictures: {place.root / report.audit_page}"]
    answer(report, "\n".join([*lines, "Next: defectloop snapshot"]), as_json=as_json)


def _validated(report: ValidationReport) -> list[str]:
    from pipelines.validate import summary

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
    from pipelines import file_hashes, originals

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
    found = file_hashes.check(place, every_file=True)
    if found.altered or found.missing:
        raise file_hashes.complaint(place, found)
    answer(found, f"{found.checked} files read: all hold the bytes that were ingested", as_json=as_json)


def synthesize(
    kinds: Annotated[
        str, typer.Option(help="scratch, dent, spot, crack, stain, missing-area, all of these, or paste.")
    ] = "all",
    count: Annotated[int, typer.Option(min=1, help="Images of every kind.")] = 10,
    seed: Annotated[int, typer.Option(help="Another seed makes other images.")] = 0,
    slice: Annotated[str | None, typer.Option(help="Only of this slice's good images.")] = None,
    preview: Annotated[Path | None, typer.Option(help="Write a page of examples there, and add nothing.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add synthetic defects to the training split, with masks: drawn into good images, or cut from real defects.

    Example: defectloop synthesize --kinds scratch,crack,paste --count 20 --preview page.html
    """
    from pipelines import synthesis_page, synthesize

    place = open_workspace(workspace)
    chosen = list(synthesize.kinds_of(kinds))
    if preview is not None:
        page = synthesis_page.write(place, chosen, seed, slice, preview)
        answer({"page": page}, f"Examples: {page}", as_json=as_json)
        return
    report = synthesize.synthesize(place, chosen, count, seed=seed, slice=slice, track=track)
    lines = [f"{report.added} synthetic images added to the training split, {report.already_present} there already"]
    if report.quarantined:
        lines.append(f"  {report.quarantined} quarantined: defectloop quarantine list")
    if report.skipped:
        lines.append(f"  {len(report.skipped)} not made, no place found where they fit (first: {report.skipped[0]})")
    answer(report, "\n".join([*lines, "Next: defectloop validate"]), as_json=as_json)


def augmentations(
    out: Annotated[Path | None, typer.Option(help="The page; default: artifacts/augmentations.html.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show ten training images as training sees them with the flips and variations of params.yaml.

    Example: defectloop augmentations --out page.html
    """
    from pipelines import augmentation_page

    place = open_workspace(workspace)
    page = augmentation_page.write(place, out or place.artifacts / "augmentations.html")
    answer({"page": page}, f"Pictures: {page}", as_json=as_json)


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
    from pipelines import quarantine as stored
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
    from pipelines.quarantine import by_reason

    lines = []
    for why, members in by_reason(entries).items():
        lines.append(f"{len(members)} {'image' if len(members) == 1 else 'images'}: {why}")
        lines += [f"  {entry.path}: {entry.reason}" for entry in (members if whole else members[:LISTED])]
        if not whole and len(members) > LISTED:
            lines.append(
                f'  … and {len(members) - LISTED} more: defectloop quarantine list --reason "{why.split("; ")[0]}"'
            )
    return "\n".join(lines) or "Nothing in quarantine."


def handover(
    target: Annotated[str, typer.Argument(help="coco, yolo, mvtec or label-studio.")],
    directory: Annotated[Path, typer.Argument(help="Where to write; must be empty or absent.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the whole dataset in another tool's format, and say what that format can't hold.

    Example: defectloop handover coco ../bottles-coco
    """
    from models.errors import BadInput
    from pipelines.handover.handover import Target, hand_over

    if target not in set(Target):
        raise BadInput(f"There is no format {target!r}.", next_step=f"Formats: {', '.join(Target)}.")
    written = hand_over(open_workspace(workspace), Target(target), directory)
    lines = [f"{written.images} images in {written.directory}"]
    if target == Target.LABEL_STUDIO:
        lines += [
            "  Start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and",
            f"  LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={written.directory.resolve().parent}; add local storage for",
            f"  {written.directory.resolve()}, paste labelling.xml, import tasks.json",
        ]
    lines += [f"  not held by {target}: {what}, {n} images" for what, n in written.left_out.items()]
    answer(written, "\n".join([*lines, *written.advice]), as_json=as_json)


class SnapshotsAction(StrEnum):
    LIST = "list"
    DIFF = "diff"
    RESTORE = "restore"
    MERGE = "merge"


def snapshots(
    action: Annotated[SnapshotsAction, typer.Argument(help="What to do.")] = SnapshotsAction.LIST,
    names: Annotated[
        list[str] | None, typer.Argument(help="Tag, number, or beginning of the hash; of merge, a branch or tag.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the snapshots, say what changed between two, bring data/ back to one, or merge a branch with its data.

    merge is for what automation learned (default: its branch defectloop/LINE) and for colleagues' branches. git merge alone
    can't join two data.dvc and loses the images of one side; merge also goes on with a git merge that stopped there.

    Example: defectloop snapshots merge defectloop/bottling-3
    """
    from models.errors import BadInput
    from pipelines import history, merge
    from pipelines.clone import branch
    from pipelines.snapshot import snapshots

    place, given = open_workspace(workspace), names or []
    if action is SnapshotsAction.MERGE and not given:
        given = [branch(place.params().line)]
    wanted = {SnapshotsAction.LIST: 0, SnapshotsAction.DIFF: 2}.get(action, 1)
    if len(given) != wanted:
        raise BadInput(f"{action} takes {wanted} names, got {len(given)}.", next_step="defectloop snapshots --help")
    if action is SnapshotsAction.LIST:
        taken = snapshots(place)
        listing = "\n".join(f"{t.tag}  {t.n_images} images  {t.data_hash}  {t.git_commit[:12]}" for t in taken)
        answer(taken, listing or "No snapshot yet: defectloop snapshot", as_json=as_json)
    elif action is SnapshotsAction.DIFF:
        found = history.diff(place, *given)
        lines = [f"{found.before} → {found.after}: {len(found.added)} added, {len(found.removed)} removed, "]
        lines[0] += f"{len(found.relabelled)} relabelled"
        if found.synthetic_added or found.synthetic_removed:
            lines[0] += f"; synthetic: {found.synthetic_added} added, {found.synthetic_removed} removed"
        lines += [f"  + {path}" for path in found.added] + [f"  - {path}" for path in found.removed]
        lines += [f"  ~ {change.path}: {change.before} → {change.after}" for change in found.relabelled]
        answer(found, "\n".join(lines), as_json=as_json)
    elif action is SnapshotsAction.MERGE:
        done = merge.merge(place, given[0])
        lines = [
            f"{done.added} images added, {len(done.moved)} parts back in the split that others learned from them in"
        ]
        lines += [f"  {one.part}: {one.before} → {one.after}" for one in done.moved[:LISTED]]
        if done.both_changed:
            both = f"{len(done.both_changed)} images corrected on both sides (first: {done.both_changed[0]})"
            lines.append(f"  {both}: the later label counts")
        answer(done, "\n".join([*lines, "Next: defectloop validate && defectloop snapshot"]), as_json=as_json)
    else:
        back = history.restore(place, given[0])
        text = f"data/ is {back.tag} again: {back.n_images} images\nNext: defectloop validate"
        answer(back, text, as_json=as_json)


def snapshot(
    workspace: WorkspaceOption = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="The commit's message.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Freeze the validated data/ as a dataset version: DVC hash, git commit, tag, push to the remote.

    Example: defectloop snapshot -m "First stock of line 3"
    """
    from pipelines.snapshot import snapshot

    taken = snapshot(open_workspace(workspace), message)
    state = "new" if taken.created else "unchanged"
    answer(taken, f"{taken.tag} ({state}): {taken.n_images} images, {taken.data_hash}", as_json=as_json)
