"""Restores files of `data/` that were altered or deleted, from snapshots that contain them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from models.dataset import annotation_table
from models.errors import BadData
from models.files import write_whole
from pipelines.adapters import dataset_versions
from pipelines.image_files import file_hashes
from pipelines.locks import line_lock
from pipelines.snapshot_tags import snapshots
from pipelines.workspace import Workspace

TABLE = "annotations.parquet"


@dataclass(frozen=True)
class Repaired:
    """Result of a repair, with paths below `data/`. `lost` files are in no snapshot of the cache or the remote."""

    checked: int
    repaired: tuple[str, ...]
    lost: tuple[str, ...]
    annotations_of: str | None  # the snapshot from which damaged annotations were restored


def repair(workspace: Workspace) -> Repaired:
    """Read every annotated file, and restore those that are missing or altered."""
    with line_lock(workspace, workspace.params().line, wait_s=600.0):
        annotations = _annotations(workspace)
        hashes = file_hashes.check(workspace, every_file=True)
        wanted = {*hashes.altered, *hashes.missing}
        repaired = []
        for taken in reversed(snapshots(workspace) if wanted else []):
            listed = dataset_versions.listed(workspace.root, taken.data_hash)
            for name in sorted(wanted & listed.keys()):
                content = dataset_versions.original(workspace.root, listed[name])
                # Snapshots that were taken before hashes were checked may contain altered files.
                if content is not None and hashlib.sha256(content).hexdigest() == file_hashes.promised(name):
                    write_whole(workspace.data / name, content)
                    wanted.remove(name)
                    repaired.append(name)
    return Repaired(hashes.checked, tuple(repaired), tuple(sorted(wanted)), annotations)


def _annotations(workspace: Workspace) -> str | None:
    """If the annotations cannot be read, restore those of the newest snapshot. Returns its tag, or None."""
    try:
        annotation_table.load(workspace.annotations)
        return None
    except BadData as damaged:
        for taken in reversed(snapshots(workspace)):
            listed = dataset_versions.listed(workspace.root, taken.data_hash)
            content = dataset_versions.original(workspace.root, listed[TABLE]) if TABLE in listed else None
            if content is not None:
                aside = workspace.state / f"damaged-{TABLE}"
                write_whole(aside, workspace.annotations.read_bytes())
                write_whole(workspace.annotations, content)
                return taken.tag
        raise BadData(
            damaged.message,
            next_step=f"No snapshot contains them. Delete {workspace.annotations} and ingest all deliveries again.",
        ) from damaged
