"""Which data a working directory stands on: the snapshot's hash and the commit. Reads two small files."""

from __future__ import annotations

from pipelines.adapters import dataset_versions, git
from pipelines.workspace import Workspace


def data_hash(workspace: Workspace) -> str:
    """DVC's hash of `data/` as `data.dvc` has it. Raises NotReady before the first snapshot."""
    return dataset_versions.pointer_hash(workspace.root / "data.dvc")


def git_commit(workspace: Workspace) -> str:
    """The commit that last touched `data.dvc`: later ones (outputs, parameters) don't change what was learned from."""
    return git.run(workspace.root, "log", "-1", "--format=%H", "--", "data.dvc") or git.head(workspace.root)
