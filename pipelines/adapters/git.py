"""Version control: git, as a program. Knows nothing of data sets."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from models.errors import DefectloopError, NotReady
from pipelines.adapters import git_locks

UNFINISHED = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}
IDENTITY = ("-c", "user.name=defectloop", "-c", "user.email=defectloop@localhost")


def run(root: Path, *arguments: str, check: bool = True) -> str:
    """Standard output of `git ARGUMENTS` in `root`, stripped. Raises DefectloopError with git's own words.

    A lock that a killed git left is removed on the way (`pipelines.adapters.git_locks`).
    """
    done = _run(root, arguments)
    if done.returncode and "lock" in done.stderr and git_locks.remove_stale(root):
        done = _run(root, arguments)
    if check and done.returncode:
        output = (done.stderr or done.stdout).strip().splitlines()
        raise DefectloopError(
            f"git {arguments[0]} failed in {root}: {' '.join(output[-3:])}.", next_step=_advice(done.stderr)
        )
    return done.stdout.strip()


def _run(root: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=root,
            env=os.environ | {"GIT_TERMINAL_PROMPT": "0"},  # a remote that asks for a password must not wait for ever
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise NotReady("git is not installed.", next_step="Install git.") from error


def commit(root: Path, paths: list[str], message: str) -> str:
    """Commit exactly these paths when they differ from HEAD; returns HEAD's hash either way.

    Raises NotReady in the middle of a merge or rebase: to stage a file would declare its conflict resolved.
    """
    require_settled(root)
    run(root, "add", "--", *paths)
    changed = run(root, "status", "--porcelain", "--", *paths)
    if changed:
        run(root, *_identity(root), "commit", "--quiet", "--message", message, "--", *paths)
    return head(root)


def unfinished(root: Path) -> str | None:
    """The git command that stopped half way in `root`: merge, rebase, cherry-pick or revert."""
    asked = [argument for name in UNFINISHED for argument in ("--git-path", name)]
    paths = run(root, "rev-parse", *asked).splitlines()
    begun = (command for path, command in zip(paths, UNFINISHED.values(), strict=True) if (root / path).exists())
    return next(begun, None)


def require_settled(root: Path) -> None:
    """Raise NotReady while a merge, rebase, cherry-pick or revert is unfinished in `root`."""
    if command := unfinished(root):
        raise NotReady(
            f"A {command} is unfinished in {root}.",
            next_step=f"Finish it (git status shows how) or give it up: git {command} --abort",
        )


def tag(root: Path, name: str, message: str, commit: str) -> None:
    run(root, *_identity(root), "tag", "--annotate", "--message", message, name, commit)


def head(root: Path) -> str:
    return run(root, "rev-parse", "HEAD")


def has_remote(root: Path, name: str = "origin") -> bool:
    return name in run(root, "remote").split()


def is_ancestor(root: Path, earlier: str, later: str) -> bool:
    done = subprocess.run(["git", "merge-base", "--is-ancestor", earlier, later], cwd=root, capture_output=True)
    return done.returncode == 0


def merge(root: Path, *arguments: str) -> None:
    """`git merge ARGUMENTS`; it wants to know who merges, even where it is told not to commit."""
    run(root, *_identity(root), "merge", "--quiet", *arguments)


def conclude_merge(root: Path, message: str) -> None:
    run(root, *_identity(root), "commit", "--quiet", "--message", message)


def current_branch(root: Path) -> str:
    return run(root, "rev-parse", "--abbrev-ref", "HEAD")


def _identity(root: Path) -> tuple[str, ...]:
    """Ours where the person has not told git who they are."""
    return () if run(root, "config", "user.email", check=False) else IDENTITY


def _advice(stderr: str) -> str:
    if "index.lock" in stderr:
        return "Another git is at work there: wait for it to end. When none runs, remove the index.lock it names."
    return ""
