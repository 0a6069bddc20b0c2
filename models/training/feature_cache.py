"""A cache on disk for features and fingerprints of images, in blocks that are written atomically."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from models.code_version import code_version
from models.errors import DefectloopError
from models.params import Params
from models.training import weights

BLOCK = 64
TRIES = 3  # attempts to compute and read back
DAMAGED = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)  # raised by NumPy
# Modules from decoding to the backbone, whose changes invalidate cached features; the frozen network's module is added.
FEATURE_CODE = (
    "models.images.codec",
    "models.images.high_bit_depth",
    "models.images.augmentation",
    "models.detector.preprocessing",
    "models.detector.onnx_graphs",
    "models.detector.graph_cache",
    "models.training.backbones",
    "models.training.frozen_features",
    "models.detector.runtime",
)
FEATURE_LIBRARIES = ("numpy", "pillow", "scipy", "timm", "torch", "onnxruntime")


class FeatureCache:
    """Rows of one shape by name, in `folder / version`. The version identifies the code that computes them.

    Memory holds the names and the requested rows. Several processes may write concurrently. Damaged blocks are ignored.
    """

    def __init__(self, folder: Path, version: str, dtype: type[np.generic] = np.float32) -> None:
        self.folder = folder
        self.directory = folder / version
        self.dtype = dtype
        self._fresh = True

    @cached_property
    def _places(self) -> dict[str, tuple[Path, int]]:
        """Block and row of every name."""
        places: dict[str, tuple[Path, int]] = {}
        for path in sorted(self.directory.glob("*.npz")) if self.directory.exists() else ():
            try:
                with path.open("rb") as source, np.load(source) as block:
                    names = block["names"].tolist()
            except DAMAGED:
                path.unlink(missing_ok=True)
                continue
            places.update((name, (path, row)) for row, name in enumerate(names))
        return places

    def missing(self, names: Sequence[str]) -> list[str]:
        return [name for name in dict.fromkeys(names) if name not in self._places]

    def rows(
        self,
        names: Sequence[str],
        features_of: Callable[[Sequence[str]], Sequence[np.ndarray]],
        show: Callable[[int], None] = lambda done: None,
    ) -> np.ndarray:
        """Return [len(names), …] for at least one name. Missing and damaged rows are computed and stored in blocks.

        After a kill, completed blocks are kept. `show` is called with the number of computed rows after each block.
        """
        done = 0
        wanted = self.missing(names)
        features: np.ndarray | None = None
        while True:
            for start in range(0, len(wanted), BLOCK):
                block = wanted[start : start + BLOCK]
                self.keep(block, np.stack(features_of(block)))
                done += len(block)
                show(done)
            features, wanted = self.present(names)
            if not wanted:
                return features
        raise DefectloopError(
            f"Files that were just written to {self.directory} cannot be read ({len(wanted)} rows, first: {wanted[0]}).",
            next_step=f"Check the disk. {self.folder} may be deleted; it is only a cache.",
        )

    def present(self, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """Return [len(names), …] with zeros for missing rows, and the names of the missing rows."""
        by_block: dict[Path, list[tuple[int, int]]] = defaultdict(list)
        for number, name in enumerate(names):
            if name in self._places:
                path, row = self._places[name]
                by_block[path].append((number, row))
        result: np.ndarray | None = None
        for path, members in by_block.items():
            try:
                with path.open("rb") as source, np.load(source) as block:
                    features = block["features"]
            except DAMAGED:  # or deleted by a newer version meanwhile
                self._forget(path)
                continue
            if result is None:
                result = np.zeros((len(names), *features.shape[1:]), self.dtype)
            numbers, rows = zip(*members, strict=True)
            result[list(numbers)] = features[list(rows)]
        absent = self.missing(names)
        return np.zeros((len(names), 0), self.dtype) if result is None else result, absent

    def keep(self, names: Sequence[str], rows: np.ndarray) -> None:
        """Write one block of rows. They are not kept in memory."""
        if self._fresh and not self.directory.exists():
            self._drop_outdated()
        self._fresh = False  # if another version deletes our files meanwhile, we do not delete its files
        self.directory.mkdir(parents=True, exist_ok=True)
        title = hashlib.sha256("\n".join(names).encode()).hexdigest()[:20]
        path = self.directory / f"{title}.npz"
        partial = self.directory / f".{title}.{os.getpid()}.{threading.get_ident()}.partial"
        with partial.open("wb") as sink:
            np.savez(sink, names=np.array(names), features=rows.astype(self.dtype))
        partial.replace(path)
        if "_places" in vars(self):  # otherwise it is read when needed
            self._places.update((name, (path, row)) for row, name in enumerate(names))

    def _forget(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        for name in [name for name, (block, _) in self._places.items() if block == path]:
            del self._places[name]

    def _drop_outdated(self) -> None:
        """Delete the files of other versions of the code, which are not used again."""
        for path in self.folder.iterdir() if self.folder.exists() else ():
            if path == self.directory:  # another process was first
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def features_kept(
    params: Params, cache: Path, network: str, kind: str = "", dtype: type[np.generic] = np.float32
) -> FeatureCache:
    """Return the cache of features for the backbone, weights and input size of `params`; pooled unless `kind` is given.

    `network` is the module of the frozen network. Rows are named IMAGE/VIEW.
    """
    weights_version = weights.fingerprint(params.model.backbone, params.model.weights, params.train.seed)
    named = [weights_version, f"{params.model.image_size_px}px", *([kind] if kind else [])]
    return FeatureCache(cache / "-".join(named), code_version([*FEATURE_CODE, network], FEATURE_LIBRARIES), dtype)
