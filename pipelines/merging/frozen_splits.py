"""What the snapshots of a line learned from stays learned from: the present splits held against theirs."""

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
    """Which split every snapshot on this machine had its images and parts in."""
    return Earlier(_tables(workspace))


def require(workspace: Workspace, table: pa.Table) -> None:
    """Raise BadData when a part is farther from training than in an earlier snapshot: it had a say in making detectors."""
    wrong = list(joining.misused(table, earlier(workspace)))
    if not wrong:
        return
    row, use = min(wrong, key=lambda one: one[1].snapshot)
    n = len({row["part"] for row, _ in wrong})
    tag = f"{prefix(workspace.params().line)}/{use.snapshot}"
    first = f"{row['source']}/{row['source_path']}, {use.split} in {tag}, now {row['split']}"
    raise BadData(
        f"{n} part{'' if n == 1 else 's'} moved towards the test split since an earlier snapshot (first: {first}). "
        "What had a say in making a detector must not judge it.",
        next_step=f"defectloop snapshots merge {tag} gives every part its split back",
    )


def _tables(workspace: Workspace) -> Iterator[tuple[int, pa.Table]]:
    taken = snapshots(workspace)
    hashes = [one.data_hash for one in taken]
    paths = dataset_versions.cached_files(workspace.root, hashes, "annotations.parquet") if hashes else {}
    for one in taken:
        if one.data_hash in paths:
            yield one.number, pq.read_table(paths[one.data_hash], columns=COLUMNS)
