"""How the head, and on request the backbone, are trained: optimiser, schedule, averaged weights, what is logged."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import lightning
import numpy as np
import torch
from torch import nn

from models.box_metrics import average_precision
from models.detection.losses import NOTHING, loss
from models.detection.network import candidates, centres
from models.fitting import seed_step
from models.params import Train

PRETRAINED_SHARE = 0.5  # of the learning rate, for what starts from pretrained weights
WARM_UP = 0.1  # of all steps, rising; then along a cosine
AVERAGED_OVER = 0.998  # each step's share that the averaged weights keep
LARGEST_GRADIENT = 10.0


class Learning(nn.Module):
    """Rows of kept maps, or pixels, to what every place says; `maps` holds what of the backbone learns."""

    def __init__(self, maps: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.maps, self.head = maps, head

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
        """Logits, boxes, the places' middles, and half a cell of the finest map."""
        maps = self.maps(inputs)
        logits, boxes = self.head(maps)
        middles = torch.cat([centres(level)[0] for level in maps])
        return logits, boxes, middles, 0.5 / min(maps[0].shape[-2:])


class Detection(lightning.LightningModule):
    """Batches are (kept maps or pixels, boxes [n, m, 5] as `models.detection.losses.loss` takes them).

    The averaged weights are what is kept: fewer epochs reach what many with a small learning rate would (Polyak and
    Juditsky, 1992). They are part of the checkpoint.
    """

    def __init__(
        self, learner: Learning, params: Train, found: Callable[..., torch.Tensor], defect_types: Sequence[str]
    ) -> None:
        super().__init__()
        self.params, self.found, self.defect_types = params, found, defect_types
        self._validation: list[tuple[np.ndarray, np.ndarray]] = []
        self.learner = learner
        self.averaged = copy.deepcopy(learner).requires_grad_(False).eval()

    def on_train_epoch_start(self) -> None:
        self.averaged.eval()
        for part in self.learner.modules():  # frozen layers' batch statistics stay as they are
            if isinstance(part, nn.BatchNorm2d) and not part.weight.requires_grad:
                part.eval()

    def on_train_batch_start(self, batch: list[torch.Tensor], number: int) -> None:
        seed_step(self.params.seed, self.current_epoch, number)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        inputs, truth = batch
        logits, boxes, middles, nearest = self.learner(inputs)
        apart = loss(logits, boxes, middles, nearest, truth)
        self.log("train_loss", apart, on_epoch=True, on_step=False, batch_size=len(truth), sync_dist=True)
        return apart

    def on_before_optimizer_step(self, _: torch.optim.Optimizer) -> None:
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), LARGEST_GRADIENT)

    @torch.no_grad()
    def on_train_batch_end(self, *_: object) -> None:
        steps = self.global_step
        stays = min(AVERAGED_OVER, (1 + steps) / (10 + steps))  # the first steps are soon forgotten
        for kept, new in zip(self.averaged.state_dict().values(), self.learner.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - stays)
            else:
                kept.copy_(new)

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        inputs, truth = batch
        logits, boxes, middles, nearest = self.averaged(inputs)
        apart = loss(logits, boxes, middles, nearest, truth)
        self.log("val_loss", apart, batch_size=len(truth), sync_dist=True)
        rows = self.found(*candidates(logits.float(), boxes.float())).cpu().numpy()
        real = [each[each[:, 4] > NOTHING] for each in truth.cpu().numpy()]
        self._validation.extend(zip(rows, real, strict=True))

    def on_validation_epoch_end(self) -> None:
        found, truth = zip(*self._validation, strict=True)
        self._validation.clear()
        if any(map(len, truth)):
            quality = average_precision(found, truth, self.defect_types)
            self.log("val_map50", quality.map50, sync_dist=True)

    def configure_optimizers(self) -> dict:
        rate = self.params.learning_rate
        parts = ((self.learner.maps, PRETRAINED_SHARE * rate), (self.learner.head, rate))
        groups = [
            {"params": learned, "lr": lr}
            for part, lr in parts
            if (learned := [one for one in part.parameters() if one.requires_grad])
        ]
        optimiser = torch.optim.AdamW(groups, lr=rate, weight_decay=self.params.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            max_lr=[group["lr"] for group in groups],
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=WARM_UP,
            cycle_momentum=False,
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
