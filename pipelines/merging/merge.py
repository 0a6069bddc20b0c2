"""Merges the data of people and automation: by `defectloop snapshots merge`, and in automation's clone.

git alone cannot do this: `data.dvc` is a single hash, and taking one side's hash loses the rows of the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from models.dataset import annotation_table
from models.errors import BadInput, DefectloopError, Refused
from pipelines.adapters import dataset_versions, git
from pipelines.locks import line_lock
from pipelines.merging import frozen_splits, joining
from pipelines.merging.joining import Joined, Moved
from pipelines.workspace import Workspace

# Files that commands write again: in a conflict, our version is kept.
WRITTEN_ANEW = ("data.dvc", "data-card.md", "dvc.lock")


@dataclass(frozen=True)
class Merged:
    commit: str
    added: int  # images
    moved: tuple[Moved, ...]  # parts moved back to the split in which the other side or an earlier snapshot had them
    both_changed: tuple[str, ...]  # images that both sides changed; the newer label was kept


def merge(workspace: Workspace, name: str) -> Merged:
    """Merge a branch or tag with its data into the present branch, or complete a `git merge` that stopped at data.dvc.

    If it is already merged, only splits are corrected. Raises BadInput for an unknown name, and Refused if `data/` has
    uncommitted changes or if files conflict that only a person can merge.
    """
    root = workspace.root
    with line_lock(workspace, workspace.params().line, wait_s=600.0):
        begun = git.unfinished(root) == "merge"
        theirs = git.run(
            root, "rev-parse", "--quiet", "--verify", "MERGE_HEAD" if begun else f"{name}^{{commit}}", check=False
        )
        if not theirs:
            raise BadInput(
                f"git has no branch or tag {name}.", next_step="Fetch and list them: git fetch --tags; git branch --all"
            )
        if begun:
            git.run(root, "checkout", "--quiet", "HEAD", "--", "data.dvc")
        elif git.is_ancestor(root, theirs, "HEAD"):
            return _set_right(workspace)
        else:
            _require_committed(workspace)
            _begin(workspace, theirs)
        _require_no_conflict(workspace)
        joined = join_data(workspace, theirs)
        git.run(root, "add", "--", *(path for path in WRITTEN_ANEW if (root / path).exists()))
        named = git.run(root, "rev-parse", "--quiet", "--verify", f"{name}^{{commit}}", check=False) == theirs
        git.conclude_merge(root, f"Merge {name if named else theirs[:12]} with its data")
    return Merged(git.head(root), joined.added, joined.moved, joined.both_changed)


def join_data(workspace: Workspace, theirs: str) -> Joined:
    """Merge the data of the commit `theirs` into `data/` and `data.dvc`.

    Repeating it after a kill gives the same result. Raises Unreachable if data of a commit cannot be fetched.
    """
    root = workspace.root
    base = git.run(root, "merge-base", "HEAD", theirs, check=False)
    mine = annotation_table.load(workspace.annotations)
    common = _table_at(workspace, base) if base else annotation_table.empty()
    joined = joining.join(mine, _table_at(workspace, theirs), common, frozen_splits.earlier(workspace))
    named = [name for column in ("file", "mask") for name in joined.table[column].to_pylist() if name is not None]
    absent = [name for name in dict.fromkeys(named) if not (workspace.data / name).exists()]
    if absent:
        dataset_versions.take_files(root, _hash_at(workspace, theirs) or "", absent)
    annotation_table.save(joined.table, workspace.annotations)
    dataset_versions.add_data(root)
    return joined


def _set_right(workspace: Workspace) -> Merged:
    """Move parts back to the splits of earlier snapshots; everything else is merged already."""
    mine, nothing = annotation_table.load(workspace.annotations), annotation_table.empty()
    joined = joining.join(mine, nothing, nothing, frozen_splits.earlier(workspace))
    if joined.moved:
        annotation_table.save(joined.table, workspace.annotations)
    return Merged(git.head(workspace.root), 0, joined.moved, ())


def _begin(workspace: Workspace, theirs: str) -> None:
    root = workspace.root
    try:
        git.merge(root, "--no-ff", "--no-commit", theirs)
    except DefectloopError:
        if git.unfinished(root) != "merge":
            raise  # the merge did not start


def _require_no_conflict(workspace: Workspace) -> None:
    root = workspace.root
    unmerged = git.run(root, "diff", "--name-only", "--diff-filter=U").splitlines()
    conflicts = [path for path in unmerged if path not in WRITTEN_ANEW]
    ours = git.run(root, "ls-tree", "--name-only", "HEAD", "--", "data.dvc", *unmerged).splitlines()
    if kept := [path for path in ours if path in WRITTEN_ANEW]:
        git.run(root, "checkout", "--quiet", "HEAD", "--", *kept)
    if conflicts:
        raise Refused(
            f"Merge conflict in {', '.join(conflicts)}: both sides changed the same lines.",
            next_step="Resolve it and run git add, then defectloop snapshots merge; or abort: git merge --abort",
        )


def _require_committed(workspace: Workspace) -> None:
    root = workspace.root
    committed = _hash_at(workspace, "HEAD")
    if not workspace.annotations.exists() and committed is None:
        return
    present = dataset_versions.add_data(root)
    if committed is not None:
        git.run(root, "checkout", "--quiet", "HEAD", "--", "data.dvc")
    if present != committed:
        raise Refused(
            "data/ contains changes that are not committed.",
            next_step="defectloop validate && defectloop snapshot, then run the same command again",
        )


def _hash_at(workspace: Workspace, commit: str) -> str | None:
    pointer = git.run(workspace.root, "show", f"{commit}:data.dvc", check=False)
    return dataset_versions.hash_in(pointer) if pointer else None


def _table_at(workspace: Workspace, commit: str) -> pa.Table:
    """Return the annotations at a commit; an empty table if it had no data yet."""
    data_hash = _hash_at(workspace, commit)
    if data_hash is None:
        return annotation_table.empty()
    path = dataset_versions.cached_file(workspace.root, data_hash, "annotations.parquet")
    if path is None:
        dataset_versions.fetch_data(workspace.root, data_hash)
        path = dataset_versions.cached_file(workspace.root, data_hash, "annotations.parquet")
    return annotation_table.load(path) if path else annotation_table.empty()
