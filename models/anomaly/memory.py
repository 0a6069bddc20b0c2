"""Fills the memory bank of a PatchCore detector from the good images of the training split.

There are no training steps to resume: a killed training starts again and, with the same seed, gives the same bank.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.anomaly.coreset import greedy
from models.anomaly.network import Network, Patches
from models.dataset.examples import Examples, subset
from models.detector import graph_cache
from models.detector.onnx_graphs import export, with_preprocessing
from models.detector.preprocessing import session_of
from models.detector.runtime import INPUT, as_input
from models.images import codec
from models.images.augmentation import View, augmented, views
from models.params import Params
from models.training import backbones
from models.training.context import TrainingContext
from models.training.fitting import Trained

POOL = 40_000  # patches that the bank is chosen from, for any number of images (25 MB)
READERS = 2
LOGGED = 20  # points of the curve of how well the bank covers the pool


def build(params: Params, defect_types: Sequence[str]) -> Network:
    """Return the network with an empty bank. Raises as `models.training.backbones.build` does."""
    model = params.model
    backbone = backbones.build(model.backbone, model.weights, model.image_size_px, params.train.seed)
    return Network(backbone, model.anomaly.memory_bank_size)


def train(training: Examples, validation: Examples, context: TrainingContext) -> Trained:
    """Fill the memory bank from the good training images. `validation` is not used. Returns the network."""
    params = context.params
    network = build(params, training.defect_types)
    good = subset(training, training.targets == 0)
    pool = sampled(network.patches, good, views(params.train), context)
    size, history = len(network.bank), []
    every = max(1, size // LOGGED)
    with context.progress("bank", size) as show:

        def log_reach(done: int, reach: float) -> None:
            if done % every == 0:
                show(done)
                history.append({"patches": float(done), "farthest_patch": reach})

        chosen = greedy(pool, size, params.train.seed, log_reach)
    places = torch.arange(size) % len(chosen)  # with fewer patches than places, some are stored twice
    network.bank.copy_(pool[chosen][places])
    if context.logger:
        for row in history:
            context.logger.log_metrics({"farthest_patch": row["farthest_patch"]}, step=int(row["patches"]))
    return Trained(network.eval(), history)


def sampled(patches: Patches, good: Examples, angles: Sequence[View], context: TrainingContext) -> torch.Tensor:
    """Return float32 [at most `POOL`, c]: the same number of patches of every view of every image, drawn by hash.

    If there are more views than the pool can hold, those with the smallest hashes are used.
    """
    size = context.params.model.image_size_px
    wanted = sorted(
        (hashlib.sha256(f"{image}/{view.name}".encode()).digest(), file, view)
        for image, file in zip(good.images, good.files, strict=True)
        for view in angles
    )[:POOL]
    each = max(1, POOL // len(wanted))
    graph = export(patches, size, ("patches",), context.cache / graph_cache.FOLDER)
    session = session_of(with_preprocessing(graph, size), threads=1)

    def some(item: tuple[bytes, Path, View]) -> np.ndarray:
        name, file, view = item
        maps = session.run(None, {INPUT: as_input(augmented(codec.read(file), view, file.stem))})[0][0]
        rows = maps.reshape(len(maps), -1).T
        random = np.random.default_rng(int.from_bytes(name[:8]))
        return rows[np.sort(random.permutation(len(rows))[:each])]

    with context.progress("patches", len(wanted)) as show, ThreadPoolExecutor(READERS) as pool:
        return torch.from_numpy(np.concatenate(list(_counted(pool.map(some, wanted), show))))


def _counted(rows: Iterator[np.ndarray], show: Any) -> Iterator[np.ndarray]:
    for done, row in enumerate(rows, start=1):
        show(done)
        yield row
