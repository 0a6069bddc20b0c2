"""Annotated defect areas for the pictures of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from models.images import masks
from models.vocabulary import Split


class GroundTruth:
    """Masks and boxes of the test split, by image."""

    def __init__(self, table: pa.Table, data_dir: Path) -> None:
        rows = table.select(["image", "split", "mask", "boxes"]).to_pylist()
        self._rows: dict[str, dict[str, Any]] = {row["image"]: row for row in rows if row["split"] == Split.TEST}
        self.data_dir = data_dir

    def mask(self, image: str, height: int, width: int) -> np.ndarray | None:
        """Return the defective pixels as bool [height, width], with boxes filled. None without mask and boxes."""
        row = self._rows[image]
        if row["mask"]:
            return masks.read(self.data_dir / row["mask"], (height, width))
        if not row["boxes"]:
            return None
        where = np.zeros((height, width), dtype=bool)
        for box in row["boxes"]:
            rows = slice(round(box["y"]), round(box["y"] + box["height"]))
            where[rows, round(box["x"]) : round(box["x"] + box["width"])] = True
        return where
