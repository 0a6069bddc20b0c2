"""Freezes the validated `data/` as a dataset version: DVC hash, git commit, tag, push.

Every step checks whether it is already done, so the next run completes what a killed one left.
"""

from __future__ import annotations

from models.dataset import annotation_table
from models.errors import DefectloopError, NotReady, Unreachable
from pipelines.adapters import dataset_versions, git
from pipelines.amounts import image_count
from pipelines.audit import audit
from pipelines.image_files import file_hashes, quarantine
from pipelines.locks import line_lock
from pipelines.snapshot_tags import Snapshot, prefix, snapshots
from pipelines.snapshots import data_card
from pipelines.validation import validate
from pipelines.workspace import Workspace

LOCK_WAIT_S = 600.0


def snapshot(workspace: Workspace, message: str | None = None) -> Snapshot:
    """Return the snapshot of the present data, creating it if needed. Raises NotReady unless this table passed validation,
    and Unreachable if a remote does not accept it."""
    line = workspace.params().line
    with line_lock(workspace, line, wait_s=LOCK_WAIT_S):
        git.require_settled(workspace.root)
        validate.require_passed(workspace)
        file_hashes.require(workspace)
        data_hash = dataset_versions.add_data(workspace.root)
        file_hashes.require(workspace)  # again, because files may have been altered while DVC added them
        table = annotation_table.load(workspace.annotations)
        n_images = table.num_rows
        refused = [entry.reason for entry in quarantine.entries(workspace)]
        card = data_card.render(line, table, refused, audit.known_issues(workspace))
        (workspace.root / "data-card.md").write_text(card)
        title = message or f"Snapshot of {line}: {image_count(n_images, table.filter(table['synthetic']).num_rows)}"
        commit = git.commit(workspace.root, ["data.dvc", "data-card.md", ".gitignore"], title)
        by_hash = {taken.data_hash: taken for taken in snapshots(workspace)}
        created = data_hash not in by_hash
        if created:
            number = max((taken.number for taken in by_hash.values()), default=0) + 1
            tag = f"{prefix(line)}/{number}"
            git.tag(workspace.root, tag, f"{data_hash} {n_images}\n\n{title}", commit)
            taken = Snapshot(line, number, tag, data_hash, commit, n_images, created=True)
        else:
            taken = by_hash[data_hash]
        earlier = sorted(by_hash.values(), key=lambda before: before.number, reverse=True)
        dataset_versions.push_data(workspace.root, [before.data_hash for before in earlier])
        if git.has_remote(workspace.root):
            try:
                git.run(workspace.root, "push", "--quiet", "origin", "HEAD", taken.tag)
            except DefectloopError as error:
                raise Unreachable(
                    f"Snapshot {taken.tag} was taken, but could not be pushed to git's remote: {error.message}",
                    next_step="Check `git push origin HEAD`, then push it again: defectloop snapshot",
                ) from error
    return taken


def by_hash(workspace: Workspace, data_hash: str) -> Snapshot:
    for taken in snapshots(workspace):
        if taken.data_hash == data_hash:
            return taken
    raise NotReady(f"No snapshot has the hash {data_hash}.", next_step="git fetch --tags, or: defectloop snapshot")


def record_outputs(workspace: Workspace, message: str) -> str:
    """Commit the inputs and results of a training, so that `dvc metrics diff` can compare. Returns the commit."""
    return git.commit(workspace.root, ["dvc.lock", "dvc.yaml", "params.yaml"], message)
