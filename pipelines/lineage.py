"""The snapshot hash and the commit of the data in a working directory. Reads a few small files."""

from __future__ import annotations

from pathlib import Path

from models.errors import NotReady
from pipelines.adapters import dataset_versions, git
from pipelines.workspace import Workspace

ANNOTATIONS = "annotations.parquet"


def data_hash(workspace: Workspace) -> str:
    """Return DVC's hash of `data/` from `data.dvc`; `data/` may have changed since. Raises NotReady without a snapshot."""
    return dataset_versions.pointer_hash(workspace.root / "data.dvc")


def snapshot_annotations(workspace: Workspace, of: str | None = None) -> Path:
    """Return the path of a snapshot's annotations in DVC's cache. `of` is its hash; default: the present snapshot. Raises
    NotReady if they are not on this machine."""
    chosen = of or data_hash(workspace)
    path = dataset_versions.cached_file(workspace.root, chosen, ANNOTATIONS)
    if path is None:
        raise NotReady(
            f"The annotations of snapshot {chosen} are not in DVC's cache on this machine.",
            next_step=f"Restore the snapshot: defectloop snapshots restore {chosen[:12]}",
        )
    return path


def require_unchanged(workspace: Workspace) -> None:
    """Raise NotReady if the annotations in `data/` differ from the snapshot that `data.dvc` names: results would be
    recorded under the wrong data version."""
    of_snapshot = dataset_versions.cached_file(workspace.root, data_hash(workspace), ANNOTATIONS)
    if of_snapshot is not None and of_snapshot.read_bytes() != workspace.annotations.read_bytes():
        raise NotReady(
            f"{workspace.data} contains changes that are in no snapshot.", next_step="Take one: defectloop snapshot"
        )


def git_commit(workspace: Workspace) -> str:
    """Return the last commit that changed `data.dvc`. Later commits (outputs, parameters) do not change the data."""
    return git.run(workspace.root, "log", "-1", "--format=%H", "--", "data.dvc") or git.head(workspace.root)
