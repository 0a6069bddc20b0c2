"""Runs the program git. Knows nothing about datasets."""

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
    """Run `git ARGUMENTS` in `root` and return its stripped standard output. Raises DefectloopError with git's message.

    A lock file that a killed git left is removed (`pipelines.adapters.git_locks`).
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
            env=os.environ | {"GIT_TERMINAL_PROMPT": "0"},  # fail instead of waiting for a password
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise NotReady("git is not installed.", next_step="Install git, then run the same command again.") from error


def commit(root: Path, paths: list[str], message: str) -> str:
    """Commit exactly these paths if they differ from HEAD. Returns the hash of HEAD.

    Raises NotReady during a merge or rebase, because staging a file would mark its conflict as resolved.
    """
    require_settled(root)
    run(root, "add", "--", *paths)
    changed = run(root, "status", "--porcelain", "--", *paths)
    if changed:
        run(root, *_identity(root), "commit", "--quiet", "--message", message, "--", *paths)
    return head(root)


def unfinished(root: Path) -> str | None:
    """Return the unfinished git command in `root`: merge, rebase, cherry-pick, revert, or None."""
    asked = [argument for name in UNFINISHED for argument in ("--git-path", name)]
    paths = run(root, "rev-parse", *asked).splitlines()
    begun = (command for path, command in zip(paths, UNFINISHED.values(), strict=True) if (root / path).exists())
    return next(begun, None)


def require_settled(root: Path) -> None:
    """Raise NotReady while a merge, rebase, cherry-pick or revert is unfinished in `root`."""
    if command := unfinished(root):
        raise NotReady(
            f"A {command} is unfinished in {root}.",
            next_step=f"Complete it (see git status), or abort it: git {command} --abort",
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
    """Run `git merge ARGUMENTS` with an identity, which git needs even with --no-commit."""
    run(root, *_identity(root), "merge", "--quiet", *arguments)


def conclude_merge(root: Path, message: str) -> None:
    run(root, *_identity(root), "commit", "--quiet", "--message", message)


def current_branch(root: Path) -> str:
    return run(root, "rev-parse", "--abbrev-ref", "HEAD")


def _identity(root: Path) -> tuple[str, ...]:
    """Return options that set defectloop's identity, or nothing if the user has configured one."""
    return () if run(root, "config", "user.email", check=False) else IDENTITY


def _advice(stderr: str) -> str:
    if "index.lock" in stderr:
        return "If another git is running, wait until it ends. If not, delete the index.lock that is named above."
    return ""
