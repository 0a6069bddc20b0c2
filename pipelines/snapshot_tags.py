"""The snapshots of a line, read from git tags."""

from __future__ import annotations

from dataclasses import dataclass

from models import names
from pipelines.adapters import git
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Snapshot:
    line: str
    number: int
    tag: str
    data_hash: str
    git_commit: str
    n_images: int
    created: bool


def prefix(line: str) -> str:
    return f"data/{names.for_tools(line)}"


def snapshots(workspace: Workspace) -> list[Snapshot]:
    """Return every snapshot of the line, oldest first."""
    line = workspace.params().line
    listing = git.run(
        workspace.root,
        "for-each-ref",
        f"refs/tags/{prefix(line)}",
        "--format=%(refname:strip=2) %(*objectname) %(contents:subject)",
    )
    numbered = []
    for row in listing.splitlines():
        tag, commit, data_hash, n_images = row.split()
        number = int(tag.rsplit("/", 1)[1])
        numbered.append(Snapshot(line, number, tag, data_hash, commit, int(n_images), created=False))
    return sorted(numbered, key=lambda taken: taken.number)
