"""How heads, and on request the backbone, are trained: loss, optimiser, schedule, and what is logged per epoch."""

from __future__ import annotations

import lightning
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from models.classification.network import Network
from models.fitting import seed_step
from models.params import Train


class Classification(lightning.LightningModule):
    """Binary cross-entropy of every member's logit. Batches are (statistics or pixels, target in {0, 1}).

    Each batch draws its random numbers from the seed and its own place, so that a training that was killed and resumed
    ends with the same weights, bit for bit.
    """

    def __init__(self, network: Network, params: Train, *, share_defective: float) -> None:
        super().__init__()
        self.params = params
        self.from_pixels = params.finetune != "head"
        self.learner = network if self.from_pixels else network.heads  # a checkpoint holds what is learned
        # Half way, on the log scale, between counting parts and counting classes; calibration sets the level later.
        self.positive_weight = ((1 - share_defective) / share_defective) ** 0.5
        self._validation: list[tuple[torch.Tensor, torch.Tensor]] = []
        network.backbone.requires_grad_(params.finetune == "all")
        if params.finetune == "last":
            network.backbone.last_stage().requires_grad_(True)

    def on_train_epoch_start(self) -> None:
        if self.params.finetune == "last":
            self.learner.backbone.eval()  # the frozen layers' batch statistics stay as they are

    def on_train_batch_start(self, batch: list[torch.Tensor], number: int) -> None:
        seed_step(self.params.seed, self.current_epoch, number)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        inputs, target = batch
        loss = self._loss(self._logits(inputs), target)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(target), sync_dist=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        inputs, target = batch
        logits = self._logits(inputs)
        self.log("val_loss", self._loss(logits, target), batch_size=len(target), sync_dist=True)
        self._validation.append((logits.mean(1), target))

    def on_validation_epoch_end(self) -> None:
        score, target = (torch.cat(parts).float().cpu().numpy() for parts in zip(*self._validation, strict=True))
        self._validation.clear()
        if 0 < target.sum() < len(target):
            self.log("val_auroc", float(roc_auc_score(target, score)), sync_dist=True)

    def configure_optimizers(self) -> dict:
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(learned, lr=self.params.learning_rate, weight_decay=self.params.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.params.epochs)
        return {"optimizer": optimiser, "lr_scheduler": schedule}

    def _logits(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.learner.logits(inputs) if self.from_pixels else self.learner(inputs)

    def _loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        wanted = target.unsqueeze(1).expand_as(logits)
        weight = torch.tensor(self.positive_weight, device=logits.device)
        return functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight)
