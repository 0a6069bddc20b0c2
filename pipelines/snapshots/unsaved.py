"""What the data of a working directory has that its snapshot has not. Reads two tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from models.dataset import annotation_table
from models.errors import NotReady
from pipelines import lineage
from pipelines.adapters import dataset_versions
from pipelines.workspace import Workspace

COMPARED = ("label", "defect_types", "mask", "boxes", "split", "slice", "part")


@dataclass(frozen=True)
class Unsaved:
    """Numbers of images that differ from the snapshot."""

    added: int
    removed: int
    changed: int  # another label, mask, box, split, slice or part

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def since_snapshot(workspace: Workspace) -> Unsaved | None:
    """Compare `data/` with the snapshot that `data.dvc` names. None if there is none, or not on this machine."""
    try:
        data_hash = lineage.data_hash(workspace)
    except NotReady:
        return None
    frozen = dataset_versions.cached_file(workspace.root, data_hash, lineage.ANNOTATIONS)
    if frozen is None or not workspace.annotations.exists():
        return None
    if same_bytes(frozen, workspace.annotations):
        return Unsaved(0, 0, 0)
    return between(annotation_table.load(frozen), annotation_table.load(workspace.annotations))


def between(before: pa.Table, after: pa.Table) -> Unsaved:
    """Count the images that two annotation tables do not share, or describe differently. Pure."""
    old, new = _rows(before), _rows(after)
    return Unsaved(
        added=len(new.keys() - old.keys()),
        removed=len(old.keys() - new.keys()),
        changed=sum(old[image] != new[image] for image in old.keys() & new.keys()),
    )


def same_bytes(first: Path, second: Path) -> bool:
    return first.stat().st_size == second.stat().st_size and first.read_bytes() == second.read_bytes()


def _rows(table: pa.Table) -> dict[str, dict]:
    return {row.pop("image"): row for row in table.select(["image", *COMPARED]).to_pylist()}
