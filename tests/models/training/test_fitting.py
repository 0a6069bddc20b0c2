from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from models import params
from models.params import Params
from models.training.context import TrainingContext
from models.training.fitting import fit, seed_step


class Overfits(lightning.LightningModule):
    """Its validation loss falls for five epochs and rises afterwards; its weight counts the epochs."""

    def __init__(self, dies_after: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.noise = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        self.dies_after = dies_after

    def on_train_batch_start(self, batch: Any, number: int) -> None:
        seed_step(7, self.current_epoch, number)

    def training_step(self, batch: list[torch.Tensor], number: int) -> torch.Tensor:
        self.noise.data += torch.rand(1)
        return -self.weight.sum() + 0 * batch[0].sum()

    def validation_step(self, batch: list[torch.Tensor], number: int) -> None:
        self.log("val_loss", (self.weight.sum() - 5).abs())

    def on_train_epoch_start(self) -> None:
        if self.dies_after is not None and self.current_epoch > self.dies_after:
            raise KeyboardInterrupt

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=1)


def chosen(**changes: Any) -> Params:
    given = params.load(Path(__file__).parents[3] / "params.yaml")
    return given.model_copy(update={"train": given.train.model_copy(update={"epochs": 24} | changes)})


def run(module: Overfits, given: Params, work: Path) -> list[dict[str, float]]:
    one = DataLoader(TensorDataset(torch.zeros(1)))
    return fit(module, one, one, TrainingContext(given, work, work))


def test_without_patience_every_epoch_counts(tmp_path: Path) -> None:
    module = Overfits()
    assert len(run(module, chosen(patience=None), tmp_path)) == 24
    assert module.weight.item() == 24


def test_with_patience_training_ends_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    module = Overfits()
    assert len(run(module, chosen(patience=3), tmp_path)) == 8
    assert module.weight.item() == 5


@pytest.mark.parametrize("patience", [None, 3, 30])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path, patience: int | None) -> None:
    whole, killed, resumed = Overfits(), Overfits(dies_after=6), Overfits()
    history = run(whole, chosen(patience=patience), tmp_path / "whole")
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        run(killed, chosen(patience=patience), tmp_path / "killed")
    assert (tmp_path / "killed" / "resume.ckpt").exists()
    assert run(resumed, chosen(patience=patience), tmp_path / "killed") == history
    assert torch.equal(resumed.weight, whole.weight)
    assert torch.equal(resumed.noise, whole.noise)
