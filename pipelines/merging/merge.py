"""People's and automation's data as one: for a person by `defectloop snapshots merge`, for automation in its clone.

git alone can't: `data.dvc` is one hash, and taking one side's loses the rows of the other.
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

# What commands write and the next run of them writes anew: in a conflict it stays as it is here.
WRITTEN_ANEW = ("data.dvc", "data-card.md", "dvc.lock")


@dataclass(frozen=True)
class Merged:
    commit: str
    added: int  # images
    moved: tuple[Moved, ...]  # parts that another side or an earlier snapshot learned from, and that go back there
    both_changed: tuple[str, ...]  # images that both sides said something new about: the later label counts


def merge(workspace: Workspace, name: str) -> Merged:
    """Merge a branch or tag with its data into the present branch; goes on with a `git merge` that stopped at data.dvc.

    Where everything of it is merged already, only splits are set right. Raises BadInput for a name that git does not
    know, and Refused while `data/` holds what no commit does, or while files conflict that only a person can merge.
    """
    root = workspace.root
    with line_lock(workspace, workspace.params().line, wait_s=600.0):
        begun = git.unfinished(root) == "merge"
        theirs = git.run(
            root, "rev-parse", "--quiet", "--verify", "MERGE_HEAD" if begun else f"{name}^{{commit}}", check=False
        )
        if not theirs:
            raise BadInput(f"git knows no branch or tag {name}.", next_step="git fetch --tags, then: git branch --all")
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
    """Bring `data/` and `data.dvc` to what it holds together with the data of the commit `theirs`.

    Run again after a kill it ends the same. Raises Unreachable when data of a commit can't be had.
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
    """Everything is merged already: parts get the split back that earlier snapshots had them in."""
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
            raise  # nothing began: it says why


def _require_no_conflict(workspace: Workspace) -> None:
    root = workspace.root
    unmerged = git.run(root, "diff", "--name-only", "--diff-filter=U").splitlines()
    conflicts = [path for path in unmerged if path not in WRITTEN_ANEW]
    ours = git.run(root, "ls-tree", "--name-only", "HEAD", "--", "data.dvc", *unmerged).splitlines()
    if kept := [path for path in ours if path in WRITTEN_ANEW]:
        git.run(root, "checkout", "--quiet", "HEAD", "--", *kept)
    if conflicts:
        raise Refused(
            f"{', '.join(conflicts)}: both sides changed the same lines.",
            next_step="Edit what git marked there, git add it, then: defectloop snapshots merge. Or: git merge --abort",
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
            "data/ holds what no commit does.",
            next_step="defectloop validate && defectloop snapshot, then again",
        )


def _hash_at(workspace: Workspace, commit: str) -> str | None:
    pointer = git.run(workspace.root, "show", f"{commit}:data.dvc", check=False)
    return dataset_versions.hash_in(pointer) if pointer else None


def _table_at(workspace: Workspace, commit: str) -> pa.Table:
    """The annotations at a commit; empty where it had no data yet."""
    data_hash = _hash_at(workspace, commit)
    if data_hash is None:
        return annotation_table.empty()
    path = dataset_versions.cached_file(workspace.root, data_hash, "annotations.parquet")
    if path is None:
        dataset_versions.fetch_data(workspace.root, data_hash)
        path = dataset_versions.cached_file(workspace.root, data_hash, "annotations.parquet")
    return annotation_table.load(path) if path else annotation_table.empty()
