"""Commands for dataset versions, and for the export to other tools."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import LISTED, JsonOption, WorkspaceOption, answer, open_workspace


def snapshot(
    workspace: WorkspaceOption = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Message of the git commit.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Freeze the validated data/ as a dataset version: DVC hash, git commit, tag, push to the remote.

    Example: defectloop snapshot -m "First stock of line 3"
    """
    place = open_workspace(workspace)
    from pipelines import progress
    from pipelines.snapshots.snapshot import snapshot

    with progress.working("snapshot"):
        taken = snapshot(place, message)
    state = "new" if taken.created else "unchanged"
    answer(taken, f"{taken.tag} ({state}): {taken.n_images} images, {taken.data_hash}", as_json=as_json)


class SnapshotsAction(StrEnum):
    LIST = "list"
    DIFF = "diff"
    RESTORE = "restore"
    MERGE = "merge"


def snapshots(
    action: Annotated[SnapshotsAction, typer.Argument(help="What to do.")] = SnapshotsAction.LIST,
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Tag, number, or beginning of the hash of a snapshot; for merge, a branch or tag."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="With diff: list every image, not only the first ten.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List snapshots, compare two, restore one into data/, or merge a branch together with its data.

    merge takes over the data of automatic retrainings (default: the branch defectloop/LINE) or of a colleague's branch.
    git merge alone cannot combine two versions of data.dvc and would lose the images of one side. merge also completes a
    git merge that stopped at a conflict in data.dvc.

    Example: defectloop snapshots merge defectloop/bottling-3
    """
    place, given = open_workspace(workspace), names or []
    from models.errors import BadInput

    if action is SnapshotsAction.MERGE and not given:
        from pipelines.retraining.clone import branch

        given = [branch(place.params().line)]
    wanted = {SnapshotsAction.LIST: 0, SnapshotsAction.DIFF: 2}.get(action, 1)
    if len(given) != wanted:
        raise BadInput(f"{action} takes {wanted} names, not {len(given)}.", next_step="defectloop snapshots --help")
    if action is SnapshotsAction.LIST:
        from pipelines.snapshot_tags import snapshots

        taken = snapshots(place)
        listing = "\n".join(f"{t.tag}  {t.n_images} images  {t.data_hash}  {t.git_commit[:12]}" for t in taken)
        answer(taken, listing or "No snapshots yet. Take one: defectloop snapshot", as_json=as_json)
    elif action is SnapshotsAction.DIFF:
        from pipelines.snapshots import history

        diff = history.diff(place, *given)
        lines = [f"{diff.before} → {diff.after}: {len(diff.added)} added, {len(diff.removed)} removed, "]
        lines[0] += f"{len(diff.relabelled)} relabelled"
        if diff.synthetic_added or diff.synthetic_removed:
            lines[0] += f"; synthetic: {diff.synthetic_added} added, {diff.synthetic_removed} removed"
        listed = None if everything else LISTED
        lines += by_delivery("+", diff.added, listed) + by_delivery("-", diff.removed, listed)
        lines += [f"  ~ {change.path}: {change.before} → {change.after}" for change in diff.relabelled[:listed]]
        if len(diff.relabelled) > len(diff.relabelled[:listed]):
            lines.append(f"  … and {len(diff.relabelled) - LISTED} more relabelled: --all lists them")
        answer(diff, "\n".join(lines), as_json=as_json)
    elif action is SnapshotsAction.MERGE:
        from pipelines.merging import merge

        done = merge.merge(place, given[0])
        lines = [
            f"{done.added} images added, {len(done.moved)} parts moved back to the split that earlier trainings used"
        ]
        lines += [f"  {one.part}: {one.before} → {one.after}" for one in done.moved[:LISTED]]
        if done.both_changed:
            both = f"{len(done.both_changed)} images were corrected on both sides (first: {done.both_changed[0]})"
            lines.append(f"  {both}: the newer label is kept")
        answer(done, "\n".join([*lines, "Next: defectloop validate && defectloop snapshot"]), as_json=as_json)
    else:
        from pipelines.snapshots import history

        back = history.restore(place, given[0])
        text = f"data/ restored to {back.tag}: {back.n_images} images\nNext: defectloop validate"
        answer(back, text, as_json=as_json)


def by_delivery(sign: str, paths: Sequence[str], listed: int | None) -> list[str]:
    """Return every path, or, if there are more than `listed`, the number of images of each delivery with an example."""
    if listed is None or len(paths) <= listed:
        return [f"  {sign} {path}" for path in paths]
    deliveries: dict[str, list[str]] = {}
    for path in paths:
        deliveries.setdefault(path.partition("/")[0], []).append(path)
    lines = [
        f"  {sign} {len(members)} of {name}, for example {members[0]}"
        for name, members in list(deliveries.items())[:listed]
    ]
    return [*lines, f"  {sign} …" if len(deliveries) > listed else f"  {sign} --all lists them"]


def export(
    target: Annotated[str, typer.Argument(help="coco, yolo, mvtec or label-studio.")],
    directory: Annotated[Path, typer.Argument(help="Output directory; must be empty or not exist.")],
    waiting: Annotated[
        bool,
        typer.Option(
            "--waiting",
            help="For label-studio: only the parts that wait for a review; the labels return with review --from.",
        ),
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export the dataset in another tool's format, and count what that format cannot represent.

    Example: defectloop export coco ../bottles-coco
    """
    place = open_workspace(workspace)
    from models.errors import BadInput
    from pipelines import progress
    from pipelines.amounts import counted
    from pipelines.dataset_export.dataset_export import Target, export_dataset

    if target not in set(Target):
        raise BadInput(f"Unknown format {target!r}.", next_step=f"Formats: {', '.join(Target)}.")
    if waiting:
        if target != Target.LABEL_STUDIO:
            raise BadInput(
                f"--waiting makes a project for Label Studio, not {target}.",
                next_step=f"defectloop export label-studio {directory} --waiting",
            )
        from pipelines.review import label_studio_tasks

        project = label_studio_tasks.export(place, directory)
        text = f"{counted(project.images, 'image')} of {counted(project.parts, 'part')} in {project.directory}"
        answer(project, "\n".join([text, *project.advice]), as_json=as_json)
        return
    with progress.working("export"):
        written = export_dataset(place, Target(target), directory)
    lines = [f"{written.images} images in {written.directory}"]
    if target == Target.LABEL_STUDIO:
        lines += [
            "  Start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and",
            f"  LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={written.directory.resolve().parent}; add local storage for",
            f"  {written.directory.resolve()}, paste labelling.xml, import tasks.json",
        ]
    lines += [f"  not representable in {target}: {what}, {n} images" for what, n in written.left_out.items()]
    answer(written, "\n".join([*lines, *written.advice]), as_json=as_json)
