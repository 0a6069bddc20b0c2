"""Fits a Lightning module: trainer, order of examples and resuming after a kill, shared by all kinds."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader, Sampler

from models.training.context import TrainingContext


@dataclass(frozen=True)
class Trained:
    network: Any  # the trained network, as made by the kind's `build`
    history: list[dict[str, float]] = field(default_factory=list)  # one row per `epoch`, or per number of `patches`
    noted: list[str] = field(default_factory=list)  # remarks about examples that were used only partly


def fit(
    module: lightning.LightningModule,
    learn: DataLoader,
    check: DataLoader,
    context: TrainingContext,
) -> list[dict[str, float]]:
    """Train `module`, continuing from the checkpoint in `context.work` if there is one. Returns the metrics by epoch.

    With `patience`, training ends if `val_loss` has not improved for that many epochs, and the best weights are restored.
    Convolutions run channels-last, which is about 1.5 times as fast on CPUs.
    """
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    history, chosen, work = History(), context.params.train, context.work
    early = [] if chosen.patience is None else [EarlyStopping("val_loss", patience=chosen.patience), _best(work)]
    with context.progress("epochs", chosen.epochs) as show, quiet():
        trainer = lightning.Trainer(
            max_epochs=chosen.epochs,
            accelerator=chosen.accelerator,
            devices=chosen.devices,
            strategy=chosen.strategy,
            num_nodes=chosen.num_nodes,
            precision=chosen.precision,  # type: ignore[arg-type]
            logger=context.logger,
            callbacks=[history, _Show(show), _resumable(work, chosen.epochs), *early],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            default_root_dir=work,
        )
        resume = work / "resume.ckpt"
        trainer.fit(module, learn, check, ckpt_path=resume if resume.exists() else None, weights_only=True)
    for kept in early[1:]:
        best = torch.load(kept.best_model_path, weights_only=True, map_location="cpu")  # type: ignore[attr-defined]
        module.load_state_dict(best["state_dict"])
    return history.rows


def seed_step(seed: int, epoch: int, batch: int) -> None:
    """Seed the random numbers of a batch by its index, so that a resumed training draws the same numbers.

    Seeding once per epoch is not enough, because data loaders draw from the same generator.
    """
    torch.manual_seed((seed * 100_003 + epoch) * 1_000_003 + batch)


class EpochOrder(Sampler[int]):
    """Yields each image once per epoch, in a new order and with a random view: index = view · n + image.

    The last `fresh` views differ in every epoch: their numbers continue from the previous epoch.
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
    """The metrics of every epoch. They are part of the checkpoint, so a resumed training has all of them."""

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


def _best(work: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        work, filename="best", monitor="val_loss", save_weights_only=True, enable_version_counter=False
    )


def _resumable(work: Path, epochs: int) -> ModelCheckpoint:
    every = max(1, epochs // 12)
    return ModelCheckpoint(
        work, filename="resume", every_n_epochs=every, enable_version_counter=False, save_on_train_epoch_end=True
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Lightning's banners and tips."""
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
