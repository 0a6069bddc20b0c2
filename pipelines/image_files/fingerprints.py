"""Cached fingerprints of a workspace's images. Ingest computes them; missing ones are computed when needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from models.code_version import code_version
from models.images import codec, near_duplicates, same_photograph
from models.images.part_grouping import Tones
from models.training.feature_cache import FeatureCache
from pipelines.workspace import Workspace

CODE = (
    "models.images.near_duplicates",
    "models.images.codec",
    "models.images.high_bit_depth",
)  # modules whose changes invalidate the cache


def opened(workspace: Workspace) -> FeatureCache:
    return FeatureCache(workspace.state / "cache" / "fingerprints", code_version(CODE), np.int8)


def of(
    workspace: Workspace, rows: Sequence[dict[str, Any]], show: Callable[[int], None] = lambda done: None
) -> np.ndarray:
    """Return the fingerprints int8 [len(rows), 32, 32] of readable images. `rows` need `image` and `file`."""
    side = near_duplicates.SIDE
    if not rows:
        return np.zeros((0, side, side), np.int8)
    file_of = {row["image"]: workspace.data / row["file"] for row in rows}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:

        def computed(names: Sequence[str]) -> list[np.ndarray]:
            return list(pool.map(lambda name: near_duplicates.fingerprint(codec.read(file_of[name])), names))

        return opened(workspace).rows([row["image"] for row in rows], computed, show)


def tones(workspace: Workspace, files: Sequence[str]) -> Tones:
    """Return a function that reads the tones of images for `part_grouping.group`. They are read only when needed."""

    def read(places: Sequence[int]) -> np.ndarray:
        side = same_photograph.SIDE
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            paths = (workspace.data / files[place] for place in places)
            rows = list(pool.map(lambda path: same_photograph.tones(codec.read(path)), paths))
        return np.stack(rows) if rows else np.zeros((0, side, side), np.float32)

    return read
