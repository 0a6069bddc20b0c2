"""Lightning module that trains the head, and optionally the backbone: loss and logging."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from models.detection.losses import NOTHING, loss
from models.detection.network import candidates, centres
from models.metrics.box_metrics import average_precision
from models.params import Train
from models.training.fine_tuning import FineTuning


class Learning(nn.Module):
    """Maps cached feature rows, or pixels, to the head's outputs. `maps` contains the trained part of the backbone."""

    def __init__(self, maps: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.maps, self.head = maps, head

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
        """Return logits, boxes, the centres of the positions, and half a cell of the finest map."""
        maps = self.maps(inputs)
        logits, boxes = self.head(maps)
        middles = torch.cat([centres(level)[0] for level in maps])
        return logits, boxes, middles, 0.5 / min(maps[0].shape[-2:])


class Detection(FineTuning):
    """Batches are (cached features or pixels, boxes [n, m, 5] as for `models.detection.losses.loss`)."""

    learner: Learning
    averaged: Learning

    def __init__(
        self, learner: Learning, params: Train, detections: Callable[..., torch.Tensor], defect_types: Sequence[str]
    ) -> None:
        super().__init__(learner, learner.maps, params)
        self.detections, self.defect_types = detections, defect_types
        self._validation: list[tuple[np.ndarray, np.ndarray]] = []

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        inputs, truth = batch
        logits, boxes, middles, nearest = self.learner(inputs)
        apart = loss(logits, boxes, middles, nearest, truth)
        self.log("train_loss", apart, on_epoch=True, on_step=False, batch_size=len(truth), sync_dist=True)
        return apart

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        inputs, truth = batch
        logits, boxes, middles, nearest = self.averaged(inputs)
        apart = loss(logits, boxes, middles, nearest, truth)
        self.log("val_loss", apart, batch_size=len(truth), sync_dist=True)
        rows = self.detections(*candidates(logits.float(), boxes.float())).cpu().numpy()
        real = [each[each[:, 4] > NOTHING] for each in truth.cpu().numpy()]
        self._validation.extend(zip(rows, real, strict=True))

    def on_validation_epoch_end(self) -> None:
        predicted, truth = zip(*self._validation, strict=True)
        self._validation.clear()
        if any(map(len, truth)):
            quality = average_precision(predicted, truth, self.defect_types)
            self.log("val_map50", quality.map50, sync_dist=True)
