"""Commands for production: inspect, replay, monitor, retrain, trace, status."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import (
    AllowOutsideOption,
    JsonOption,
    PartFromOption,
    WorkspaceOption,
    answer,
    in_json,
    open_workspace,
    terminal_width,
)

if TYPE_CHECKING:
    from pipelines.workspace import Workspace


def inspect(
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    workspace: WorkspaceOption = None,
    part: Annotated[
        str | None, typer.Option(help="Serial number of the part that all images show; default: found by --part-from.")
    ] = None,
    view: Annotated[
        list[str] | None,
        typer.Option(help="Side, light or station of an image; repeat it once per image, in the same order."),
    ] = None,
    part_from: PartFromOption = None,
    slice: Annotated[str | None, typer.Option(help="Group of the part, for example its material or recipe.")] = None,
    heatmaps: Annotated[
        Path | None,
        typer.Option(
            help="Folder for heatmap images; default: .defectloop/heatmaps in the workspace, none with --url."
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(help="Show what this registered version answers instead; nothing is stored in the ledger."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of a `defectloop serve` that inspects instead; no workspace is needed.")
    ] = None,
    line: Annotated[
        str | None, typer.Option(help="With --url: the line; default: the only one of the service.")
    ] = None,
    as_json: JsonOption = True,
) -> None:
    """Inspect images with the champion. Prints one JSON line per image with verdict, score, regions and heatmap file.

    Each inspection is in the ledger before its line is printed. A part with several images gets one more line at the end:
    the part fails if any of its images fails. The exit code is 2 if an image could not be read.

    With --version, another version answers, for example one that the gate refused. Such answers are no verdicts of the
    line, so they are not recorded: neither trace, drift checks nor campaigns see them.

    With --url, the service at that address inspects and records. The key is taken from DEFECTLOOP_API_KEY, and heatmaps are
    downloaded if --heatmaps names a folder. Images are sent again until they are answered, for up to a minute each.

    Example: defectloop inspect cell0001.png | jq .verdict
    """
    from models.errors import BadInput

    if view and len(view) != len(images):
        raise BadInput(f"{len(view)} views for {len(images)} images.", next_step="Give --view once for each image.")
    if url is not None:
        if workspace or version:
            raise BadInput("--workspace and --version have no effect with --url.", next_step="Leave them out.")
        _inspect_at(url, line, images, heatmaps, part=part, views=view, part_from=part_from, slice=slice)
        return
    if line is not None:
        raise BadInput("--line goes with --url; a workspace has one line.", next_step="Leave --line out.")
    place = open_workspace(workspace)
    from models.files import require_writable
    from pipelines.inspection.predict import inspect_file, open_inspector, part_verdict

    pictures = heatmaps or place.state / "heatmaps"
    require_writable(pictures)
    if version is not None:
        if part or view or slice or part_from:
            raise BadInput(
                "--part, --view, --slice and --part-from have no effect with --version, because nothing is recorded.",
                next_step=f"defectloop inspect --version {version} IMAGE",
            )
        _try_out(place, version, images, pictures)
        return
    with open_inspector(place) as inspector:
        _print_each(
            images,
            view,
            lambda image, side: inspect_file(
                inspector, image, part=part, view=side, part_from=part_from, slice=slice, folder=pictures
            ),
            lambda name, unreadable: part_verdict(inspector, name, unread=unreadable if part else 0),
        )


def _inspect_at(
    url: str,
    line: str | None,
    images: list[Path],
    pictures: Path | None,
    *,
    part: str | None,
    views: list[str] | None,
    part_from: str | None,
    slice: str | None,
) -> None:
    """Print what the service at an address answers."""
    from models.files import require_writable
    from pipelines.client import Client
    from pipelines.inspection import remote

    if pictures:
        require_writable(pictures)
    with Client(url, os.environ.get("DEFECTLOOP_API_KEY")) as client:
        name = remote.line_of(client, line)
        _print_each(
            images,
            views,
            lambda image, side: remote.inspect_file(
                client, name, image, part=part, view=side, part_from=part_from, slice=slice, folder=pictures
            ),
            lambda of, unreadable: remote.part_verdict(client, name, of, unread=unreadable if part else 0),
        )


def _print_each(
    images: list[Path],
    views: list[str] | None,
    inspect_one: Callable[[Path, str | None], dict],
    part_verdict: Callable[[str, int], dict],
) -> None:
    """Print one line per image, and one per part with several images. Exits with 2 if an image could not be inspected.

    `part_verdict` gets the part and the number of unreadable images: one of them may be the view that shows the defect.
    """
    from models.errors import BadInput

    unreadable = 0
    shown: Counter[str] = Counter()
    for number, image in enumerate(images):
        try:
            result = inspect_one(image, views[number] if views else None)
        except BadInput as error:
            unreadable += 1
            typer.echo(json.dumps({"image": str(image), "error": error.message, "next": error.next_step}))
        else:
            shown[result["part"]] += 1
            typer.echo(in_json(result))
    for name in (name for name, n in shown.items() if n > 1):
        typer.echo(in_json(part_verdict(name, unreadable)))
    if unreadable:
        raise typer.Exit(2)


def _try_out(place: Workspace, version: str, images: list[Path], pictures: Path) -> None:
    """Print what a version answers about each image, without a record."""
    from models.errors import BadInput
    from pipelines.inspection import trial

    detector = trial.load(place, version)
    unreadable = 0
    for image in images:
        try:
            typer.echo(in_json(trial.inspect_file(detector, image, version, pictures)))
        except BadInput as error:
            unreadable += 1
            typer.echo(json.dumps({"image": str(image), "error": error.message, "next": error.next_step}))
    if unreadable:
        raise typer.Exit(2)


def replay(
    source: Annotated[Path, typer.Argument(help="A folder of production images.")],
    workspace: WorkspaceOption = None,
    slice: Annotated[
        str | None, typer.Option(help="Group of these parts, for example their material or recipe.")
    ] = None,
    part_from: PartFromOption = None,
    allow_outside: AllowOutsideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Inspect a folder as if its images came from the line. Images are identified by their bytes: replaying the same
    folder again adds nothing.

    Links to files outside the folder are refused. Links to folders are not followed.

    Example: defectloop replay night-shift/ --slice poly
    """
    place = open_workspace(workspace)
    from pipelines import progress
    from pipelines.inspection.predict import replay_folder

    with progress.working("replay"):
        report = replay_folder(place, source, slice=slice, part_from=part_from, allow_outside=allow_outside)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report.verdicts.items())
    parts = sum(report.verdicts.values())
    text = f"{report.inspected} images of {parts} parts inspected ({counts}), {report.already_known} inspected before"
    text += f", {report.copies} byte-identical copies" if report.copies else ""
    refused = f", {report.rejected} unreadable (kept in the image store and the ledger)" if report.rejected else ""
    linked = report.linked_folders
    passed_over = f"; {len(linked)} links to folders not followed (first: {linked[0]})" if linked else ""
    answer(report, text + refused + passed_over, as_json=as_json)


def monitor(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Compare recent production with the champion's reference. A drift is sent to Prefect as an event.

    Example: defectloop monitor --json | jq .drifted
    """
    place = open_workspace(workspace)
    from flows import home
    from flows.local_server import for_one_command

    server = for_one_command(place)
    from flows.monitoring import monitoring

    with home.reached():
        check = monitoring(str(place.root))
    unheard = check.drifted and server is None
    waits = (
        "\nNo Prefect server is running, so no retraining was started. The next check sends the event if "
        "`defectloop deploy` is running."
        if unheard
        else ""
    )
    answer(check, check.explanation + waits, as_json=as_json)


def retrain(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Start or continue a retraining by hand: labels, snapshot, challenger, gate.

    Example: defectloop retrain --workspace bottles
    """
    place = open_workspace(workspace)
    from flows import home
    from flows.local_server import for_one_command

    for_one_command(place)
    from flows.retraining import retraining

    with home.reached():
        outcome = retraining(str(place.root))
    answer(outcome, outcome.message, as_json=as_json)
    if outcome.state in ("refused", "cancelled", "failed"):
        raise typer.Exit(4)


def trace(
    part: Annotated[
        str | None,
        typer.Argument(help="Serial number of the part, name of its image file, or number of an inspection."),
    ] = None,
    inspection: Annotated[
        int | None, typer.Option(help="Number of an inspection, also if a part has this number as its name.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trace a part's verdicts back to its images, heatmaps, regions, the model, run, snapshot, commit and training images.
    Of an inspection, it also says what has changed since: champion, thresholds, ground truth, drift.

    Example: defectloop trace cell0815
    """
    from models.errors import BadInput

    if (part is None) == (inspection is None):
        raise BadInput("Name either a part or an --inspection.", next_step="defectloop trace PART")
    place = open_workspace(workspace)
    from pipelines.inspection.trace import document, render, trace

    traced = trace(place, part, inspection)
    answer(document(traced), render(traced), as_json=as_json)


def status(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show the state of the line: data against its snapshot, champion and its drift, the last refusal, open requests,
    branches to merge.

    Example: defectloop status
    """
    place = open_workspace(workspace)
    from pipelines.inspection.status import status
    from pipelines.inspection.status_text import render

    now = status(place)
    answer(now, render(now, terminal_width()), as_json=as_json)
