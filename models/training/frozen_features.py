"""Features of a frozen network, computed once and cached.

ONNX Runtime is about seven times as fast as eager PyTorch on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.detector import graph_cache
from models.detector.onnx_graphs import export, with_preprocessing
from models.detector.preprocessing import session_of
from models.detector.runtime import INPUT, as_input
from models.images import codec
from models.images.augmentation import View, augmented
from models.params import Params
from models.training.context import Progress
from models.training.feature_cache import features_kept

READERS = 2


def frozen_features(
    frozen: torch.nn.Module,
    params: Params,
    cache: Path,
    *,
    kind: str = "",
    dtype: type[np.generic] = np.float32,
) -> Callable[[Sequence[tuple[str, Path, View]], Progress], np.ndarray]:
    """Return a function from (image hash, file, view) to features `dtype` [n, …], which computes missing ones.

    `frozen` maps pixels [1, 3, side, side] to one tensor [1, …]. It is determined by the backbone of `params` and by `kind`,
    which is part of the cache key.
    """
    size = params.model.image_size_px
    store = features_kept(params, cache, type(frozen).__module__, kind, dtype)

    def rows(wanted: Sequence[tuple[str, Path, View]], progress: Progress) -> np.ndarray:
        by_name = {f"{name}/{view.name}": (path, view) for name, path, view in wanted}
        names = [f"{name}/{view.name}" for name, _, view in wanted]
        sessions: list[Any] = []  # created only if something has to be computed

        def compute(name: str) -> np.ndarray:
            path, view = by_name[name]
            return sessions[0].run(None, {INPUT: as_input(augmented(codec.read(path), view, path.stem))})[0][0]

        def computed(block: Sequence[str]) -> list[np.ndarray]:
            if not sessions:
                graph = export(frozen, size, ("features",), cache / graph_cache.FOLDER)
                sessions.append(session_of(with_preprocessing(graph, size), threads=1))
            return list(pool.map(compute, block))

        with progress("features", len(store.missing(names))) as show, ThreadPoolExecutor(READERS) as pool:
            return store.rows(names, computed, show)

    return rows
