"""Removes lock files that a killed git left in a repository. git never removes them, and later commands would fail."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil


def remove_stale(root: Path) -> list[Path]:
    """Remove the lock files of the repository at `root`, unless a process may hold them. Returns the removed files.

    A process may hold them if a git on this machine works in the repository, or if another process has the file open. A git
    on another machine that shares the files is not noticed (docs/reliability.md).
    """
    folders = _folders(root)
    locks = [path for folder in folders for path in _locks(folder)]
    if not locks or _is_in_use(folders, set(locks)):
        return []
    for path in locks:
        path.unlink(missing_ok=True)
    return locks


def _folders(root: Path) -> list[Path]:
    """Return the working tree, its git directory, and the directory that linked working trees share."""
    asked = ["git", "rev-parse", "--show-toplevel", "--absolute-git-dir", "--git-common-dir"]
    answer = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=False).stdout.splitlines()
    return list(dict.fromkeys((root / line).resolve() for line in answer))


def _locks(folder: Path) -> Iterator[Path]:
    if not (folder / "objects").is_dir():
        return  # the working tree, in which *.lock files belong to people
    yield from folder.glob("*.lock")
    yield from folder.glob("refs/**/*.lock")
    yield from folder.glob("objects/*/*.lock")


def _is_in_use(folders: list[Path], locks: set[Path]) -> bool:
    mine = os.getpid()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.pid == mine or process.status() == psutil.STATUS_ZOMBIE:
                continue
            try:
                here = Path(process.cwd())
                if process.name().startswith("git") and any(here.is_relative_to(folder) for folder in folders):
                    return True
                if any(Path(file.path) in locks for file in process.open_files()):
                    return True
            except psutil.AccessDenied:
                if process.name().startswith("git"):
                    return True  # a git of another user, whose directory is unknown
    return False
