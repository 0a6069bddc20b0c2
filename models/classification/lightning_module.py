"""How heads, and on request the backbone, are trained: loss, optimiser, schedule, and what is logged per epoch."""

from __future__ import annotations

import lightning
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from models.classification.network import Network, pool
from models.fitting import seed_step
from models.params import Train


class Classification(lightning.LightningModule):
    """Binary cross-entropy of every member's logit, and of each defect type where there are several.

    Batches are (statistics or pixels, target in {0, 1}), then with several types [n, k] in {0, 1}, −1 where nobody said.

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
        loss = self._loss(batch)[0]
        target = batch[1]
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(target), sync_dist=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        target = batch[1]
        loss, logits = self._loss(batch)
        self.log("val_loss", loss, batch_size=len(target), sync_dist=True)
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

    def _loss(self, batch: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch's loss and every member's logit [n, members]."""
        inputs, target, *types = batch
        heads = self.learner.heads if self.from_pixels else self.learner
        features = pool(self.learner.backbone(inputs)) if self.from_pixels else inputs
        logits = heads(features)
        wanted = target.unsqueeze(1).expand_as(logits)
        weight = torch.tensor(self.positive_weight, device=logits.device)
        loss = functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight)
        if types:
            known = types[0] >= 0
            of_types = functional.binary_cross_entropy_with_logits(
                heads.type_logits(features), types[0].clamp_min(0), reduction="none"
            )
            loss = loss + (of_types * known).sum() / known.sum().clamp_min(1)
        return loss, logits
