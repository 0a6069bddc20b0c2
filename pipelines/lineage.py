"""Which data a working directory stands on: the snapshot's hash and the commit. Reads a few small files."""

from __future__ import annotations

from pathlib import Path

from models.errors import NotReady
from pipelines.adapters import dataset_versions, git
from pipelines.workspace import Workspace

ANNOTATIONS = "annotations.parquet"


def data_hash(workspace: Workspace) -> str:
    """DVC's hash of `data/` as `data.dvc` has it; `data/` may have changed since. Raises NotReady before a snapshot."""
    return dataset_versions.pointer_hash(workspace.root / "data.dvc")


def snapshot_annotations(workspace: Workspace, of: str | None = None) -> Path:
    """The annotations of a snapshot (its hash; default: the present one), from DVC's cache: never those of `data/`."""
    chosen = of or data_hash(workspace)
    path = dataset_versions.cached_file(workspace.root, chosen, ANNOTATIONS)
    if path is None:
        raise NotReady(
            f"The annotations of snapshot {chosen} are not in DVC's cache on this machine.",
            next_step=f"Fetch them: defectloop snapshots restore {chosen[:12]}",
        )
    return path


def require_unchanged(workspace: Workspace) -> None:
    """Raises NotReady where the annotations in `data/` are not those of the snapshot that `data.dvc` names: what is
    learned or measured now would be kept under the name of other data."""
    of_snapshot = dataset_versions.cached_file(workspace.root, data_hash(workspace), ANNOTATIONS)
    if of_snapshot is not None and of_snapshot.read_bytes() != workspace.annotations.read_bytes():
        raise NotReady(
            f"{workspace.data} holds changes that no snapshot has.", next_step="Take one: defectloop snapshot"
        )


def git_commit(workspace: Workspace) -> str:
    """The commit that last touched `data.dvc`: later ones (outputs, parameters) don't change what was learned from."""
    return git.run(workspace.root, "log", "-1", "--format=%H", "--", "data.dvc") or git.head(workspace.root)
