"""The labelled images of one split, as arrays that training and fitting share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from models.errors import BadData
from models.vocabulary import Label, Split


@dataclass(frozen=True)
class Examples:
    """Images of one split, in the order of their hashes; `targets` float32 [n], 1 where defective.

    `synthetic` bool [n] says which were made and not photographed: in the training split alone.
    """

    images: Sequence[str]
    parts: Sequence[str]
    files: Sequence[Path]
    targets: np.ndarray
    synthetic: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def of_split(table: pa.Table, data_dir: Path, split: Split) -> Examples:
    """The labelled rows of `split`. Raises BadData when they lack good or defective images."""
    rows = [row for row in table.to_pylist() if row["split"] == split and row["label"]]
    if len({row["label"] for row in rows}) < 2:
        only = rows[0]["label"] if rows else "no"
        raise BadData(
            f"The {split} split holds {len(rows)} labelled images, {only} ones only; a detector needs good and defective.",
            next_step="Ingest more: defectloop ingest FOLDER",
        )
    return Examples(
        images=[row["image"] for row in rows],
        parts=[row["part"] for row in rows],
        files=[data_dir / row["file"] for row in rows],
        targets=np.array([row["label"] == Label.DEFECT for row in rows], dtype=np.float32),
        synthetic=np.array([bool(row["synthetic"]) for row in rows]),
    )
