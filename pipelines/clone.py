"""Automation's own clone of a workspace: it shares cache and state, and never touches a person's checkout.

People and automation both add data. Neither is lost: when both did, the clone joins what people committed with the
rows that only automation has, and every part keeps the split it was given.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import pyarrow as pa

from models import annotation_table
from models.files import write_whole
from pipelines import workspace as workspaces
from pipelines.adapters import dataset_versions, git
from pipelines.image_store import open_store
from pipelines.workspace import Workspace


def branch(line: str) -> str:
    """Where automation publishes its commits in the owner's repository."""
    return f"defectloop/{line}"


def take_clone(workspace: Workspace) -> Workspace:
    """The clone with its data, holding everything that people committed and everything that automation learned.

    Made when absent; a clone that a killed retraining left is taken up where it was.
    """
    line = workspace.params().line
    root = workspace.state / "automation" / line
    if not root.exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        begun = root.with_name(f".{line}.partial")
        shutil.rmtree(begun, ignore_errors=True)
        git.run(root.parent, "clone", "--quiet", "--branch", _start(workspace, line), str(workspace.root), begun.name)
        begun.rename(root)
    clone = replace(workspaces.at(root), **_shared_places(workspace))
    if git.current_branch(root) != branch(line):
        git.run(root, "checkout", "--quiet", "-B", branch(line))
    if (root / ".git" / "MERGE_HEAD").exists():  # killed while joining: start that over
        git.run(root, "reset", "--quiet", "--hard", "HEAD")
        clone.annotations.unlink(missing_ok=True)
    dataset_versions.share_cache(root, workspace.root / ".dvc" / "cache", workspace.remote_url)
    git.run(root, "fetch", "--quiet", "--tags", "origin")
    if not clone.annotations.exists() or dataset_versions.checkout_unfinished(root):
        dataset_versions.checkout_data(root)
    theirs = git.head(workspace.root)
    if git.is_ancestor(root, "HEAD", theirs):
        git.run(root, "reset", "--quiet", "--hard", theirs)
        dataset_versions.checkout_data(root)
    elif not git.is_ancestor(root, theirs, "HEAD"):
        _join(clone, theirs, line)
    return clone


def publish(workspace: Workspace, clone: Workspace) -> str:
    """Push the clone's commits and tags to the owner's repository; returns the branch they are on there."""
    name = branch(workspace.params().line)
    git.run(clone.root, "push", "--quiet", "origin", f"HEAD:refs/heads/{name}", "--tags")
    return name


def _start(workspace: Workspace, line: str) -> str:
    published = git.run(workspace.root, "branch", "--list", branch(line))
    return branch(line) if published else git.current_branch(workspace.root)


def _shared_places(workspace: Workspace) -> dict:
    names = ("state", "ledger_url", "tracking_uri", "artifact_root", "store_url", "remote_url")
    return {name: getattr(workspace, name) for name in names}


def _images_at(clone: Workspace, commit: str) -> set[str]:
    """The images of the dataset at a commit; none where that one is not on this machine or had no data yet."""
    pointer = git.run(clone.root, "show", f"{commit}:data.dvc", check=False)
    data_hash = dataset_versions.hash_in(pointer) if pointer else None
    path = dataset_versions.cached_file(clone.root, data_hash, "annotations.parquet") if data_hash else None
    return set(annotation_table.load(path)["image"].to_pylist()) if path else set()


def _join(clone: Workspace, theirs: str, line: str) -> None:
    """One commit with both histories: their tree and data, plus the rows that only the clone has."""
    mine = annotation_table.load(clone.annotations)
    common = _images_at(clone, git.run(clone.root, "merge-base", "HEAD", theirs))
    git.run(clone.root, "merge", "--quiet", "--strategy", "ours", "--no-commit", theirs)
    git.run(clone.root, "checkout", "--quiet", theirs, "--", ".")
    dataset_versions.checkout_data(clone.root)
    table = annotation_table.load(clone.annotations)
    split_of = dict(zip(table["part"].to_pylist(), table["split"].to_pylist(), strict=True))
    # What was there when both set out and is not in theirs was removed by people: it stays removed.
    known = common | set(table["image"].to_pylist())
    only_mine = [
        row | {"split": split_of.get(row["part"], row["split"])}
        for row in mine.to_pylist()
        if row["image"] not in known
    ]
    store = open_store(clone.store_url)
    for row in only_mine:
        write_whole(clone.data / row["file"], store.get(row["image"]))
    annotation_table.save(pa.concat_tables([table, annotation_table.from_rows(only_mine)]), clone.annotations)
    dataset_versions.add_data(clone.root)
    git.run(clone.root, "add", "--all")
    git.conclude_merge(clone.root, f"Join what people and automation added to line {line}")
