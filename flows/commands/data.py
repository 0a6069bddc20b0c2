"""Commands that make a workspace and fill its data/."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import (
    LISTED,
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
    recognised = formats.count(chosen, opened)
    if not as_json:
        typer.echo(_recognised(recognised))
    if dry_run:
        foreseen = preview.preview(place, opened, track=track)
        answer(plain(recognised) | {"grouping": plain(foreseen)}, "\n".join(_foreseen(foreseen)), as_json=as_json)
        return
    report = take_in(place, opened, track=track)
    text = "\n".join([*_ingested(report), "Next: defectloop validate"])
    answer(plain(report) | {"recognised": plain(recognised)}, text, as_json=as_json)


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


def _recognised(recognised: Recognised) -> str:
    """What a person reads before anything is written: the counts, the classes, and what is not as one may expect."""
    text = f"{recognised.format}: {recognised.images} images, {recognised.labelled} labelled, "
    text += f"{recognised.masks} masks, {recognised.boxes} boxes, {recognised.parts} parts"
    if recognised.without_part:
        text += f"; {recognised.without_part} images whose part nobody said, look-alikes among them will share one"
    lines = [text, "  classes: " + (", ".join(f"{n} {kind}" for kind, n in recognised.classes.items()) or "none")]
    lines += [f"  {len(names)} × {what} (first: {names[0]})" for what, names in recognised.remarks.items()]
    if recognised.outside:
        lines.append(f"  {len(recognised.outside)} files outside the delivery's folder are read:")
        lines += [f"    {path}" for path in recognised.outside[:LISTED]]
        lines += [f"    … and {len(recognised.outside) - LISTED} more (--json lists them all)"] * (
            len(recognised.outside) > LISTED
        )
    return "\n".join(lines)


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
    from pipelines.synthesis import synthesis_page, synthesize

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
    from pipelines.synthesis import augmentation_page

    place = open_workspace(workspace)
    page = augmentation_page.write(place, out or place.artifacts / "augmentations.html")
    answer({"page": page}, f"Pictures: {page}", as_json=as_json)
