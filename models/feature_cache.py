"""What is computed once about images (features, fingerprints): blocks of rows on disk, each whole or not there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from models import weights
from models.params import Params

BLOCK = 64


class FeatureCache:
    """Rows of one shape by name, in `directory`, which belongs to one way of computing them."""

    def __init__(self, directory: Path, dtype: type[np.generic] = np.float32) -> None:
        self.directory = directory
        self.dtype = dtype

    @cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        rows: dict[str, np.ndarray] = {}
        for path in sorted(self.directory.glob("*.npz")) if self.directory.exists() else ():
            with np.load(path) as block:
                rows.update(zip(block["names"].tolist(), block["features"], strict=True))
        return rows

    def missing(self, names: Sequence[str]) -> list[str]:
        return [name for name in dict.fromkeys(names) if name not in self._rows]

    def compute(
        self,
        names: Sequence[str],
        features_of: Callable[[Sequence[str]], Sequence[np.ndarray]],
        show: Callable[[int], None],
    ) -> None:
        """Compute and keep the rows of `names`, a block at a time; killed half way, the finished blocks stay.

        `show` is told after each block how many are done.
        """
        for start in range(0, len(names), BLOCK):
            block = list(names[start : start + BLOCK])
            rows = np.stack(features_of(block)).astype(self.dtype)
            self.keep(block, rows)
            self._rows.update(zip(block, rows, strict=True))
            show(start + len(block))

    def keep(self, names: Sequence[str], rows: np.ndarray) -> None:
        """Write one block of rows that were computed elsewhere; memory holds none of them afterwards."""
        self.directory.mkdir(parents=True, exist_ok=True)
        title = hashlib.sha256("\n".join(names).encode()).hexdigest()[:20]
        partial = self.directory / f".{title}.{os.getpid()}.partial"
        with partial.open("wb") as sink:
            np.savez(sink, names=np.array(names), features=rows.astype(self.dtype))
        partial.replace(self.directory / f"{title}.npz")

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """[len(names), …]. Every name must have been computed."""
        return np.stack([self._rows[name] for name in names])


def features_kept(params: Params, cache: Path, kind: str = "", dtype: type[np.generic] = np.float32) -> FeatureCache:
    """Features of the backbone, its weights and input size that `params` name, pooled unless `kind` says another.

    Rows are IMAGE/VIEW.
    """
    known = weights.fingerprint(params.model.backbone, params.model.weights, params.train.seed)
    named = [known, f"{params.model.image_size_px}px", *([kind] if kind else [])]
    return FeatureCache(cache / "-".join(named), dtype)
