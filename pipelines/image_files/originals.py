"""Bring back files of `data/` that were altered or deleted, from the snapshots that hold them."""

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
    """Files below `data/`; `lost` ones are in no snapshot of this machine's cache or its remote, and stay as they are."""

    checked: int
    repaired: tuple[str, ...]
    lost: tuple[str, ...]
    annotations_of: str | None  # the snapshot whose annotations took the place of damaged ones


def repair(workspace: Workspace) -> Repaired:
    """Read every annotated file; put the original in the place of each that is absent or not what its name says."""
    with line_lock(workspace, workspace.params().line, wait_s=600.0):
        annotations = _annotations(workspace)
        hashes = file_hashes.check(workspace, every_file=True)
        wanted = {*hashes.altered, *hashes.missing}
        repaired = []
        for taken in reversed(snapshots(workspace) if wanted else []):
            listed = dataset_versions.listed(workspace.root, taken.data_hash)
            for name in sorted(wanted & listed.keys()):
                content = dataset_versions.original(workspace.root, listed[name])
                # A version that was sealed before hashes were checked may hold altered bytes.
                if content is not None and hashlib.sha256(content).hexdigest() == file_hashes.promised(name):
                    write_whole(workspace.data / name, content)
                    wanted.remove(name)
                    repaired.append(name)
    return Repaired(hashes.checked, tuple(repaired), tuple(sorted(wanted)), annotations)


def _annotations(workspace: Workspace) -> str | None:
    """Where the table of annotations can't be read: put that of the newest snapshot in its place, and name that one."""
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
            next_step=f"No snapshot holds an earlier one. Delete {workspace.annotations} and ingest every source again.",
        ) from damaged
