"""Compares two snapshots, and restores one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from models.dataset import annotation_table
from models.errors import BadInput, NotReady, Refused
from pipelines.adapters import dataset_versions, git
from pipelines.locks import line_lock
from pipelines.snapshots import snapshot
from pipelines.snapshots.snapshot import Snapshot
from pipelines.workspace import Workspace

COMPARED = ("label", "defect_types", "defect_probability", "mask", "boxes", "split", "slice", "part")


@dataclass(frozen=True)
class Change:
    """A changed annotation of one image. `before` and `after` hold only the columns that differ."""

    path: str
    before: dict
    after: dict


@dataclass(frozen=True)
class Difference:
    """Changes from snapshot `before` to `after`; images are given by delivery path."""

    before: str
    after: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    relabelled: tuple[Change, ...]
    synthetic_added: int  # synthetic images among `added`
    synthetic_removed: int


def named(workspace: Workspace, name: str) -> Snapshot:
    """Return a snapshot by tag, number, or the beginning of its hash. Raises BadInput unless exactly one matches."""
    matching = [
        taken
        for taken in snapshot.snapshots(workspace)
        if name in (taken.tag, str(taken.number)) or (len(name) >= 6 and taken.data_hash.startswith(name))
    ]
    if len(matching) != 1:
        raise BadInput(f"{len(matching) or 'No'} snapshots match {name}.", next_step="List them: defectloop snapshots")
    return matching[0]


def diff(workspace: Workspace, before: str, after: str) -> Difference:
    """Return what was added, removed and relabelled from one snapshot to another."""
    first, second = named(workspace, before), named(workspace, after)
    return compare(first.tag, _table(workspace, first), second.tag, _table(workspace, second))


def compare(before: str, first: pa.Table, after: str, second: pa.Table) -> Difference:
    """Compare two annotation tables, image by image. Pure."""
    old, new = ({row["image"]: row for row in table.to_pylist()} for table in (first, second))
    changes = []
    for image in sorted(old.keys() & new.keys()):
        differing = [name for name in COMPARED if old[image][name] != new[image][name]]
        if differing:
            versions = ({name: row[image][name] for name in differing} for row in (old, new))
            changes.append(Change(_path(new[image]), *versions))
    return Difference(
        before=before,
        after=after,
        added=tuple(sorted(_path(new[image]) for image in new.keys() - old.keys())),
        removed=tuple(sorted(_path(old[image]) for image in old.keys() - new.keys())),
        relabelled=tuple(changes),
        synthetic_added=sum(bool(new[image]["synthetic"]) for image in new.keys() - old.keys()),
        synthetic_removed=sum(bool(old[image]["synthetic"]) for image in old.keys() - new.keys()),
    )


def restore(workspace: Workspace, name: str) -> Snapshot:
    """Restore `data/` to a snapshot. Raises Refused if the present data is in no snapshot, because it would be lost.

    `data/` is not changed before all files are on this machine. If killed after that, the same command completes the work.
    """
    chosen = named(workspace, name)
    with line_lock(workspace, workspace.params().line, wait_s=600.0):
        # An unfinished restore matches no snapshot, but the data before it did.
        unfinished = dataset_versions.checkout_unfinished(workspace.root)
        if workspace.annotations.exists() and not unfinished:
            present = dataset_versions.add_data(workspace.root)
            if present not in {taken.data_hash for taken in snapshot.snapshots(workspace)}:
                git.run(workspace.root, "checkout", "--quiet", "HEAD", "--", "data.dvc")
                raise Refused(
                    "data/ contains changes that are in no snapshot and would be lost.",
                    next_step="defectloop validate && defectloop snapshot, then run the same command again",
                )
        dataset_versions.fetch_data(workspace.root, chosen.data_hash)
        git.run(workspace.root, "checkout", "--quiet", chosen.tag, "--", "data.dvc")
        dataset_versions.checkout_data(workspace.root)
    return chosen


def _table(workspace: Workspace, taken: Snapshot) -> pa.Table:
    path: Path | None = dataset_versions.cached_file(workspace.root, taken.data_hash, "annotations.parquet")
    if path is None:
        raise NotReady(
            f"The data of snapshot {taken.tag} is not on this machine.",
            next_step=f"git checkout {taken.tag} -- data.dvc && dvc fetch data.dvc",
        )
    return annotation_table.load(path)


def _path(row: dict) -> str:
    return f"{row['source']}/{row['source_path']}"
