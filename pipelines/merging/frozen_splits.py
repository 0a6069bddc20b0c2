"""Checks that no part moves towards the test split: compares the present splits with those of earlier snapshots."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import BadData
from pipelines.adapters import dataset_versions
from pipelines.merging import joining
from pipelines.merging.joining import Earlier
from pipelines.snapshot_tags import prefix, snapshots
from pipelines.workspace import Workspace

COLUMNS = ["image", "part", "split"]


def earlier(workspace: Workspace) -> Earlier:
    """Return the splits of all images and parts in every snapshot on this machine."""
    return Earlier(_tables(workspace))


def require(workspace: Workspace, table: pa.Table) -> None:
    """Raise BadData if a part has moved towards the test split since an earlier snapshot, which may have trained on it."""
    wrong = list(joining.misused(table, earlier(workspace)))
    if not wrong:
        return
    row, use = min(wrong, key=lambda one: one[1].snapshot)
    n = len({row["part"] for row, _ in wrong})
    tag = f"{prefix(workspace.params().line)}/{use.snapshot}"
    first = f"{row['source']}/{row['source_path']}, {use.split} in {tag}, now {row['split']}"
    raise BadData(
        f"{n} part{'' if n == 1 else 's'} moved towards the test split since an earlier snapshot (first: {first}). "
        "Data that was used for training must not be used for testing.",
        next_step=f"Move every part back to its split: defectloop snapshots merge {tag}",
    )


def _tables(workspace: Workspace) -> Iterator[tuple[int, pa.Table]]:
    taken = snapshots(workspace)
    hashes = [one.data_hash for one in taken]
    paths = dataset_versions.cached_files(workspace.root, hashes, "annotations.parquet") if hashes else {}
    for one in taken:
        if one.data_hash in paths:
            yield one.number, pq.read_table(paths[one.data_hash], columns=COLUMNS)
