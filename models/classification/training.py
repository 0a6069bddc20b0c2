"""Train a classification network on the examples of two splits. Reads images and caches; knows no tracker and no stage.

Frozen features are computed once, by ONNX Runtime (some seven times faster than eager PyTorch on a CPU), and kept.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from models import backbones, images
from models.augmentation import PLAIN, View, seen, view_at, views
from models.classification.lightning_module import Classification
from models.classification.network import Network, Pooled
from models.dataset import ImageDataset
from models.examples import Examples
from models.feature_cache import features_kept
from models.onnx_graphs import export, with_preprocessing
from models.params import Params
from models.preprocessing import session_of
from models.runtime import INPUT, as_input

READERS = 2
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Trained:
    network: Network
    history: list[dict[str, float]] = field(default_factory=list)  # one row per epoch


def build(params: Params) -> Network:
    """The untrained network. Raises what `models.backbones.build` raises."""
    model = params.model
    torch.manual_seed(params.train.seed)
    backbone = backbones.build(model.backbone, model.weights, model.image_size_px)
    return Network(backbone, hidden=model.hidden, members=model.members, dropout=model.dropout)


def train(
    training: Examples,
    validation: Examples,
    params: Params,
    *,
    work: Path,
    cache: Path,
    logger: Any,
    progress: Progress,
) -> Trained:
    """Train from the last epoch that `work` holds, else from the start; both end with the same weights.

    `cache` keeps frozen features by image, for every later training. `logger` is Lightning's, or False.
    """
    network = build(params)
    learn, check = _datasets(network, training, validation, params, cache, progress)
    chosen = params.train
    history = History()
    with progress("epochs", chosen.epochs) as show, _quiet():
        trainer = lightning.Trainer(
            max_epochs=chosen.epochs,
            accelerator=chosen.accelerator,
            devices=chosen.devices,
            strategy=chosen.strategy,
            num_nodes=chosen.num_nodes,
            precision=chosen.precision,  # type: ignore[arg-type]
            logger=logger,
            callbacks=[history, _Show(show), _resumable(work, chosen.epochs)],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            default_root_dir=work,
        )
        resume = work / "resume.ckpt"
        fresh = chosen.augment.views if chosen.finetune != "head" else 0
        order = EpochOrder(len(training), len(views(chosen)), chosen.seed, fresh=fresh)
        trainer.fit(
            Classification(network, chosen, share_defective=float(training.targets.mean())),
            DataLoader(learn, chosen.batch_size, sampler=order),
            DataLoader(check, chosen.batch_size),
            ckpt_path=resume if resume.exists() else None,
            weights_only=True,
        )
    return Trained(network.cpu().eval(), history.rows)


class EpochOrder(Sampler[int]):
    """Each image once per epoch, in a new order and a random view: index = view · n + image.

    The last `fresh` of the views are other ones in every epoch: their numbers go on where the epoch before ended.
    """

    def __init__(self, n: int, views: int, seed: int, *, fresh: int = 0) -> None:
        self.n, self.views, self.seed, self.fresh, self.epoch = n, views, seed, fresh, 0

    def set_epoch(self, epoch: int) -> None:  # Lightning calls it, also after resuming
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.n, generator=random)
        view = torch.randint(self.views, (self.n,), generator=random)
        new = view >= self.views - self.fresh
        return iter(((view + new * self.epoch * self.fresh) * self.n + order).tolist())


class History(Callback):
    """The logged numbers of every epoch; part of the checkpoint, so that a resumed training has them all."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        numbers = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        self.rows.append({"epoch": float(trainer.current_epoch), **numbers})

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])


class _Show(Callback):
    def __init__(self, show: Callable[[int], None]) -> None:
        self.show = show

    def on_train_epoch_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        self.show(trainer.current_epoch + 1)


def _resumable(work: Path, epochs: int) -> ModelCheckpoint:
    every = max(1, epochs // 12)
    return ModelCheckpoint(
        work, filename="resume", every_n_epochs=every, enable_version_counter=False, save_on_train_epoch_end=True
    )


def _datasets(
    network: Network, training: Examples, validation: Examples, params: Params, cache: Path, progress: Progress
) -> tuple[Dataset, Dataset]:
    size, angles = params.model.image_size_px, views(params.train)
    if params.train.finetune != "head":
        return (
            ImageDataset(training.files, training.targets, size, partial(view_at, params.train)),
            ImageDataset(validation.files, validation.targets, size),
        )
    features = frozen_features(network, params, cache)
    wanted: list[tuple[str, Path, View]] = [
        (name, path, view) for view in angles for name, path in zip(training.images, training.files, strict=True)
    ]
    wanted += [(name, path, PLAIN) for name, path in zip(validation.images, validation.files, strict=True)]
    rows = features(wanted, progress)
    learn, check = rows[: len(angles) * len(training)], rows[len(angles) * len(training) :]
    network.heads.fit_standardisation(torch.from_numpy(learn))
    targets = np.tile(training.targets, len(angles))
    return (
        TensorDataset(torch.from_numpy(learn), torch.from_numpy(targets)),
        TensorDataset(torch.from_numpy(check), torch.from_numpy(validation.targets)),
    )


def frozen_features(
    network: Network, params: Params, cache: Path
) -> Callable[[Sequence[tuple[str, Path, View]], Progress], np.ndarray]:
    """A function from (image hash, file, view) to pooled statistics float32 [n, d], computing what `cache` lacks."""
    size = params.model.image_size_px
    store = features_kept(params, cache)

    def rows(wanted: Sequence[tuple[str, Path, View]], progress: Progress) -> np.ndarray:
        by_name = {f"{name}/{view.name}": (path, view) for name, path, view in wanted}
        names = [f"{name}/{view.name}" for name, _, view in wanted]
        if missing := store.missing(names):
            graph = export(Pooled(network.backbone), size, ("features",))
            session = session_of(with_preprocessing(graph, size), threads=1)

            def compute(name: str) -> np.ndarray:
                path, view = by_name[name]
                return session.run(None, {INPUT: as_input(seen(images.read(path), view, path.stem))})[0][0]

            with progress("features", len(missing)) as show, ThreadPoolExecutor(READERS) as pool:
                store.compute(missing, lambda block: list(pool.map(compute, block)), show)
        return store.rows(names)

    return rows


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's banners and tips stay out of a production log."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
