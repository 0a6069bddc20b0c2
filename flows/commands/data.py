"""Commands that create a workspace and add data to it."""

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
    directory: Annotated[Path, typer.Argument(help="Directory of the workspace; created if it does not exist.")],
    line: Annotated[str, typer.Option(help="Name of the production line, up to 255 printable characters.")],
    as_json: JsonOption = False,
) -> None:
    """Create a workspace: a git and DVC repository with params.yaml and dvc.yaml.

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
    line: Annotated[str | None, typer.Option(help="Fail if the workspace belongs to another line.")] = None,
    extract: Annotated[bool, typer.Option("--extract", help="The source is a zip or tar archive.")] = False,
    part_from: PartFromOption = None,
    allow_outside: AllowOutsideOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what was recognised and write nothing.")] = False,
    workspace: WorkspaceOption = None,
    slice: Annotated[
        str | None, typer.Option(help="Group that is measured separately: a material, a light, a camera.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add images and their ground truth to data/. Ingesting the same source again adds nothing.

    Files outside the delivery's folder are not read, even if a link or table names them, unless --allow-outside is given.

    Example: defectloop ingest photos/ --slice brushed-steel
    """
    place = open_workspace(workspace)
    from dataclasses import replace

    from models import names
    from models.errors import BadInput
    from pipelines import part_names, progress
    from pipelines.ingest import archives, formats, preview
    from pipelines.ingest.ingest import take_in

    if format not in set(formats.Format):
        raise BadInput(f"Unknown format {format!r}.", next_step=f"Formats: {', '.join(formats.Format)}.")
    if line is not None and line != place.params().line:
        raise BadInput(
            f"{place.root} belongs to line {place.params().line}, not to {line}.",
            next_step=f"Choose that line's workspace with --workspace, or create one: defectloop init DIR --line {line}",
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
        opened = replace(opened, name=delivery.name)  # the temporary folder's name would differ in a second ingest
        for inside in delivery.nested:
            typer.echo(f"  nested archive, not extracted: {names.shown(inside)}", err=True)
    recognised = formats.count(chosen, opened)
    if not as_json:
        typer.echo(_recognised(recognised))
    if dry_run:
        foreseen = preview.preview(place, opened, track=track)
        answer(plain(recognised) | {"grouping": plain(foreseen)}, "\n".join(_foreseen(foreseen)), as_json=as_json)
        return
    with progress.working("ingest"):
        report = take_in(place, opened, track=track)
    text = "\n".join([*_ingested(report), "Next: defectloop validate"])
    answer(plain(report) | {"recognised": plain(recognised)}, text, as_json=as_json)


def _ingested(report: IngestReport) -> list[str]:
    """Describe what changed, and what was kept although the delivery states something else."""
    text = f"{report.added} added, {report.relabelled} relabelled, {report.already_present} already present, "
    text += f"{len(report.quarantined)} quarantined"
    text += f"; {report.redrawn} with new masks or boxes" if report.redrawn else ""
    text += f"; {report.parted} assigned to the part that the delivery states" if report.parted else ""
    lines = [text]
    if report.grouped:
        lines.append(
            f"  {report.grouped} grouped with near duplicates as one part (at most {report.largest_group} images per part)"
        )
    if report.alike:
        lines.append(_look_alike(report.alike))
    if report.outdated:
        lines.append(f"  {len(report.outdated)} keep a newer label, mask or box (first: {report.outdated[0]})")
    if report.unparted:
        lines.append(
            f"  {len(report.unparted)} keep their part although the delivery states another one: their part was stated "
            f"before, or its images are in different splits (first: {report.unparted[0]})"
        )
    return lines


def _foreseen(grouping: Preview) -> list[str]:
    """Describe how near duplicates would be grouped, with examples."""
    lines = []
    if grouping.joined:
        lines.append(
            f"  {grouping.joined} would be grouped with near duplicates (parts: {grouping.groups}, "
            f"the largest with {grouping.largest} images)"
        )
        lines += [f"    for example {', '.join(names)}" for names in grouping.examples]
    if grouping.alike:
        lines.append(_look_alike(grouping.alike))
    return lines or ["  no near duplicates would be grouped"]


def _look_alike(images: int) -> str:
    return (
        f"  different parts look alike on this line: {images} images resemble another image that may show a different part, "
        "so they were not grouped. If parts were photographed several times, state the part: --part-from, or the column "
        "`part` of a manifest"
    )


def _recognised(recognised: Recognised) -> str:
    """Describe the delivery before anything is written: counts, classes, remarks and files outside its folder."""
    text = f"{recognised.format}: {recognised.images} images, {recognised.labelled} labelled, "
    text += f"{recognised.masks} masks, {recognised.boxes} boxes, {recognised.parts} parts"
    if recognised.without_part:
        text += f"; {recognised.without_part} images without a stated part: near duplicates among them become one part"
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
        str, typer.Option(help="scratch, dent, spot, crack, stain, missing-area, paste, or all (all except paste).")
    ] = "all",
    count: Annotated[int, typer.Option(min=1, help="Number of images of each kind.")] = 10,
    seed: Annotated[int, typer.Option(help="Random seed: another seed makes other images.")] = 0,
    slice: Annotated[str | None, typer.Option(help="Use only good images of this slice.")] = None,
    preview: Annotated[Path | None, typer.Option(help="Write a page of examples to this file and add nothing.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add synthetic defects to the training split, with masks: drawn into good images, or cut from real defects.

    Example: defectloop synthesize --kinds scratch,crack,paste --count 20 --preview page.html
    """
    place = open_workspace(workspace)
    from pipelines import progress
    from pipelines.synthesis import synthesis_page, synthesize

    chosen = list(synthesize.kinds_of(kinds))
    if preview is not None:
        page = synthesis_page.write(place, chosen, seed, slice, preview)
        answer({"page": page}, f"Examples: {page}", as_json=as_json)
        return
    with progress.working("synthesize"):
        report = synthesize.synthesize(place, chosen, count, seed=seed, slice=slice, track=track)
    lines = [f"{report.added} synthetic images added to the training split, {report.already_present} already present"]
    if report.quarantined:
        lines.append(f"  {report.quarantined} quarantined: defectloop quarantine list")
    if report.skipped:
        lines.append(f"  {len(report.skipped)} skipped: no place where the defect fits (first: {report.skipped[0]})")
    answer(report, "\n".join([*lines, "Next: defectloop validate"]), as_json=as_json)


def augmentations(
    out: Annotated[Path | None, typer.Option(help="File of the page; default: artifacts/augmentations.html.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show ten training images with the augmentations of params.yaml, as the network sees them.

    Example: defectloop augmentations --out page.html
    """
    place = open_workspace(workspace)
    from pipelines.synthesis import augmentation_page

    page = augmentation_page.write(place, out or place.artifacts / "augmentations.html")
    answer({"page": page}, f"Pictures: {page}", as_json=as_json)
