"""Automation's own clone of a workspace. It shares cache and state, and never changes a person's checkout.

People and automation both add data. If both did, the clone joins the rows that people committed with the rows that only
automation has (`pipelines.merging.merge`). Nothing is lost, and no part moves towards the test split.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

from models import names
from pipelines import workspace as workspaces
from pipelines.adapters import dataset_versions, git
from pipelines.merging import merge
from pipelines.workspace import Workspace


def branch(line: str) -> str:
    """Return the branch on which automation publishes its commits in the owner's repository."""
    return f"defectloop/{names.for_tools(line)}"


def take_clone(workspace: Workspace) -> Workspace:
    """Return the clone with its data: everything that people committed and everything that automation added.

    It is created if needed. A clone that a killed retraining left is continued.
    """
    line = workspace.params().line
    root = workspace.state / "automation" / names.for_tools(line)
    if not root.exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        begun = root.with_name(f".{root.name}.partial")
        shutil.rmtree(begun, ignore_errors=True)
        git.run(root.parent, "clone", "--quiet", "--branch", _start(workspace, line), str(workspace.root), begun.name)
        begun.rename(root)
    clone = replace(workspaces.at(root), **_shared_places(workspace))
    if git.current_branch(root) != branch(line):
        git.run(root, "checkout", "--quiet", "-B", branch(line))
    if git.unfinished(root) == "merge":  # killed while joining: start the join again
        git.run(root, "reset", "--quiet", "--hard", "HEAD")
        clone.annotations.unlink(missing_ok=True)
    git.run(root, "remote", "set-url", "origin", str(workspace.root))  # the workspace may have been moved
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
    """Push the clone's commits and tags to the owner's repository. Returns the branch there."""
    name = branch(workspace.params().line)
    git.run(clone.root, "push", "--quiet", "origin", f"HEAD:refs/heads/{name}", "--tags")
    return name


def _start(workspace: Workspace, line: str) -> str:
    published = git.run(workspace.root, "branch", "--list", branch(line))
    return branch(line) if published else git.current_branch(workspace.root)


def _shared_places(workspace: Workspace) -> dict:
    names = ("state", "ledger_url", "tracking_uri", "artifact_root", "store_url", "remote_url")
    return {name: getattr(workspace, name) for name in names}


def _join(clone: Workspace, theirs: str, line: str) -> None:
    """Create a merge commit with the people's files and the data of both sides."""
    dataset_versions.add_data(clone.root)  # includes data that a killed retraining did not commit
    git.run(clone.root, "checkout", "--quiet", "HEAD", "--", "data.dvc")
    git.merge(clone.root, "--strategy", "ours", "--no-commit", theirs)
    git.run(clone.root, "checkout", "--quiet", theirs, "--", ".")
    merge.join_data(clone, theirs)
    git.run(clone.root, "add", "--all")
    git.conclude_merge(clone.root, f"Join what people and automation added to line {line}")
