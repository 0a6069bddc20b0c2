"""Lightning module of the student: loss, optimiser, schedule and logging."""

from __future__ import annotations

import lightning
import torch

from models.anomaly.student import Student, errors
from models.params import Train
from models.training.fitting import seed_step


class Distillation(lightning.LightningModule):
    """The loss is the mean squared difference on every level. Batches are (pixels, the teacher's map of each level)."""

    def __init__(self, student: Student, params: Train) -> None:
        super().__init__()
        self.params = params
        self.student = student  # only the student is part of the checkpoint

    def on_train_batch_start(self, batch: list[torch.Tensor], number: int) -> None:
        seed_step(self.params.seed, self.current_epoch, number)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        loss = self._loss(batch)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(batch[0]), sync_dist=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        self.log("val_loss", self._loss(batch), batch_size=len(batch[0]), sync_dist=True)

    def configure_optimizers(self) -> dict:
        optimiser = torch.optim.AdamW(
            self.student.parameters(), lr=self.params.learning_rate, weight_decay=self.params.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.params.epochs)
        return {"optimizer": optimiser, "lr_scheduler": schedule}

    def _loss(self, batch: list[torch.Tensor]) -> torch.Tensor:
        pixels, *taught = batch
        imitated = self.student(pixels.contiguous(memory_format=torch.channels_last))
        return torch.stack([error.mean() for error in errors(tuple(taught), imitated)]).sum()
