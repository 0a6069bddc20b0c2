"""Commands from a folder of images to a snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import JsonOption, WorkspaceOption, answer, open_workspace


def init(
    directory: Annotated[Path, typer.Argument(help="Where the workspace shall be; made when absent.")],
    line: Annotated[str, typer.Option(help="Name of the production line: lower case, digits and hyphens.")],
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
    source: Annotated[str, typer.Argument(help="A folder, a CSV or Parquet manifest, or elpv (the example's images).")],
    workspace: WorkspaceOption = None,
    slice: Annotated[str | None, typer.Option(help="A group worth measuring alone: material, light, camera.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Take images with their ground truth into data/. A second ingest of the same source adds nothing.

    Example: defectloop ingest photos/ --slice brushed-steel
    """
    from pipelines.ingest.ingest import ingest

    report = ingest(open_workspace(workspace), source, slice=slice)
    text = f"{report.added} added, {report.already_present} already present, {len(report.quarantined)} quarantined"
    answer(report, text + "\nNext: defectloop validate", as_json=as_json)


def validate(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Check data/ against its contract; rows that fail go to quarantine/ with the reason.

    Example: defectloop validate --workspace bottles
    """
    from pipelines.validate import validate

    report = validate(open_workspace(workspace))
    lines = [f"{report.n_checked} images checked, {len(report.quarantined)} quarantined"]
    lines += [f"  quarantined {row.path}: {row.reason}" for row in report.quarantined]
    answer(report, "\n".join([*lines, "Next: defectloop snapshot"]), as_json=as_json)


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
