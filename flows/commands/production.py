"""Commands around production: inspect, watch, review, retrain, trace."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import (
    AllowOutsideOption,
    JsonOption,
    PartFromOption,
    WorkspaceOption,
    answer,
    in_json,
    open_workspace,
)


def inspect(
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    workspace: WorkspaceOption = None,
    part: Annotated[
        str | None, typer.Option(help="Serial number of the part that all of them show; default: as --part-from says.")
    ] = None,
    view: Annotated[
        list[str] | None, typer.Option(help="Which side, light or station; once for each image, in their order.")
    ] = None,
    part_from: PartFromOption = None,
    slice: Annotated[str | None, typer.Option(help="What the line says about the part: material, recipe.")] = None,
    heatmaps: Annotated[
        Path | None, typer.Option(help="Folder for the heatmap pictures; default: the workspace's.")
    ] = None,
    as_json: JsonOption = True,
) -> None:
    """Inspect images with the champion: one JSON line each with verdict, score, regions, heatmap file.

    Each inspection is in the ledger before its line is printed. A part with several images gets a line of its own at the
    end: it fails when one of them fails. Exit code 2 when an image could not be read.

    Example: defectloop inspect cell0001.png | jq .verdict
    """
    from models.errors import BadInput
    from models.files import require_writable
    from pipelines.inspection.predict import inspect_file, open_inspector, part_verdict

    place = open_workspace(workspace)
    pictures = heatmaps or place.state / "heatmaps"
    require_writable(pictures)
    if view and len(view) != len(images):
        raise BadInput(f"{len(view)} views for {len(images)} images.", next_step="Give --view once for each image.")
    unreadable = 0
    shown: Counter[str] = Counter()
    with open_inspector(place) as inspector:
        for number, image in enumerate(images):
            try:
                result = inspect_file(
                    inspector,
                    image,
                    part=part,
                    view=view[number] if view else None,
                    part_from=part_from,
                    slice=slice,
                    heatmaps=pictures,
                )
            except BadInput as error:
                unreadable += 1
                typer.echo(json.dumps({"image": str(image), "error": error.message, "next": error.next_step}))
            else:
                shown[result["part"]] += 1
                typer.echo(in_json(result))
        for name in (name for name, n in shown.items() if n > 1):
            # What could not be read may be the view that shows the defect.
            whole = part_verdict(inspector, name, unread=unreadable if part else 0)
            typer.echo(in_json(whole))
    if unreadable:
        raise typer.Exit(2)


def replay(
    source: Annotated[Path, typer.Argument(help="A folder of production images.")],
    workspace: WorkspaceOption = None,
    slice: Annotated[str | None, typer.Option(help="What the line says about these parts: material, recipe.")] = None,
    part_from: PartFromOption = None,
    allow_outside: AllowOutsideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Inspect a whole folder as if it came off the line. Replayed again, it adds nothing: images are known by their bytes.

    A link to a file outside the folder is refused; links to folders are not followed.

    Example: defectloop replay night-shift/ --slice poly
    """
    from pipelines.inspection.predict import replay_folder

    report = replay_folder(
        open_workspace(workspace), source, slice=slice, part_from=part_from, allow_outside=allow_outside
    )
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report.verdicts.items())
    parts = sum(report.verdicts.values())
    text = f"{report.inspected} images of {parts} parts inspected ({counts}), {report.already_known} known before"
    text += f", {report.copies} the same bytes as others of them" if report.copies else ""
    refused = (
        f", {report.rejected} could not be read: kept in the image store and the ledger" if report.rejected else ""
    )
    linked = report.linked_folders
    passed_over = f"; {len(linked)} links to folders are not followed (first: {linked[0]})" if linked else ""
    answer(report, text + refused + passed_over, as_json=as_json)


def monitor(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Compare the latest production with the champion's reference; announce a drift to Prefect.

    Example: defectloop monitor --json | jq .drifted
    """
    from flows import home
    from flows.local_server import for_one_command

    place = open_workspace(workspace)
    server = for_one_command(place)
    from flows.monitoring import monitoring

    with home.reached():
        check = monitoring(str(place.root))
    unheard = check.drifted and server is None
    waits = "\nNobody listens yet; announced by the next check while this runs: defectloop deploy" if unheard else ""
    answer(check, check.explanation + waits, as_json=as_json)


def retrain(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Start, or go on with, the line's retraining by hand: labels, snapshot, challenger, gate.

    Example: defectloop retrain --workspace bottles
    """
    from flows import home
    from flows.local_server import for_one_command

    place = open_workspace(workspace)
    for_one_command(place)
    from flows.retraining import retraining

    with home.reached():
        outcome = retraining(str(place.root))
    answer(outcome, outcome.message, as_json=as_json)
    if outcome.state in ("refused", "declined", "failed"):
        raise typer.Exit(4)


def trace(
    part: Annotated[str, typer.Argument(help="Serial number of the part, or the name of its image file.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the way from a part's verdicts back to model, run, snapshot, commit and training images.

    Example: defectloop trace cell0815
    """
    from pipelines.inspection.trace import render, trace

    traced = trace(open_workspace(workspace), part)
    answer(traced, render(traced), as_json=as_json)


def status(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show the line at a glance: snapshot, champion, latest inspections, drift, open requests.

    Example: defectloop status
    """
    from pipelines.inspection.status import render, status

    now = status(open_workspace(workspace))
    answer(now, render(now), as_json=as_json)
