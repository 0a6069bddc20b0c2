"""How heads, and on request the backbone, are trained: loss, optimiser, schedule, and what is logged per epoch."""

from __future__ import annotations

import lightning
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from models.classification.network import Heads, Network, pool
from models.params import Train
from models.training.fine_tuning import FineTuning
from models.training.fitting import seed_step


class HeadsAlone(lightning.LightningModule):
    """Heads learn from kept statistics: batches are (statistics, target in {0, 1}), then types as in `loss`.

    Each batch draws its random numbers from the seed and its own place, so that a training that was killed and resumed
    ends with the same weights, bit for bit.
    """

    def __init__(self, network: Network, params: Train, *, share_defective: float) -> None:
        super().__init__()
        self.params = params
        self.learner = network.heads  # a checkpoint holds what is learned
        self.positive_weight = positive_weight(share_defective)
        self._validation = Validation(self)

    def on_train_batch_start(self, batch: list[torch.Tensor], number: int) -> None:
        seed_step(self.params.seed, self.current_epoch, number)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        apart, _logits = loss(self.learner, batch, self.positive_weight)
        self.log("train_loss", apart, on_epoch=True, on_step=False, batch_size=len(batch[1]), sync_dist=True)
        return apart

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        self._validation.add(*loss(self.learner, batch, self.positive_weight), batch[1])

    def on_validation_epoch_end(self) -> None:
        self._validation.end()

    def configure_optimizers(self) -> dict:
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(learned, lr=self.params.learning_rate, weight_decay=self.params.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.params.epochs)
        return {"optimizer": optimiser, "lr_scheduler": schedule}


class FromPixels(FineTuning):
    """Heads and backbone learn together: batches are (pixels, target in {0, 1}), then types as in `loss`.

    Heads are fed standardised statistics, to which their noise and their initial weights are fitted. So the network
    comes with a standardisation that was taken from the training images. Batch statistics stay the pretrained ones,
    from which that one was taken: those of small batches would shift what it makes of the statistics.
    """

    learner: Network
    averaged: Network
    pretrained_share = 0.25
    keeps_statistics = True

    def __init__(self, network: Network, params: Train, *, share_defective: float) -> None:
        network.backbone.requires_grad_(params.finetune == "all")
        network.backbone.last_stage().requires_grad_(True)
        super().__init__(network, network.backbone, params)
        self.positive_weight = positive_weight(share_defective)
        self._validation = Validation(self)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        apart, _logits = self._loss(self.learner, batch)
        self.log("train_loss", apart, on_epoch=True, on_step=False, batch_size=len(batch[1]), sync_dist=True)
        return apart

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        self._validation.add(*self._loss(self.averaged, batch), batch[1])

    def on_validation_epoch_end(self) -> None:
        self._validation.end()

    def _loss(self, network: Network, batch: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, *truth = batch
        return loss(network.heads, [pool(network.backbone(pixels)), *truth], self.positive_weight)


class Validation:
    """What the validation split's batches came to, and the numbers that are logged of all of them."""

    def __init__(self, module: lightning.LightningModule) -> None:
        self._log = module.log
        self._scored: list[tuple[torch.Tensor, torch.Tensor]] = []

    def add(self, apart: torch.Tensor, logits: torch.Tensor, target: torch.Tensor) -> None:
        self._log("val_loss", apart, batch_size=len(target), sync_dist=True)
        self._scored.append((logits.mean(1), target))

    def end(self) -> None:
        score, target = (torch.cat(parts).float().cpu().numpy() for parts in zip(*self._scored, strict=True))
        self._scored.clear()
        if 0 < target.sum() < len(target):
            self._log("val_auroc", float(roc_auc_score(target, score)), sync_dist=True)


def positive_weight(share_defective: float) -> float:
    """Half way, on the log scale, between counting parts and counting classes; calibration sets the level later."""
    return float(((1 - share_defective) / share_defective) ** 0.5)


def loss(heads: Heads, batch: list[torch.Tensor], positive_weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Binary cross-entropy of every member's logit, and of each defect type where there are several; and the logits.

    A batch is (statistics, target in {0, 1}), then with several types [n, k] in {0, 1}, −1 where nobody said. The logits
    are [n, ensemble_size].
    """
    features, target, *types = batch
    logits = heads(features)
    wanted = target.unsqueeze(1).expand_as(logits)
    weight = torch.tensor(positive_weight, device=logits.device)
    apart = functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight)
    if types:
        is_labelled = types[0] >= 0
        of_types = functional.binary_cross_entropy_with_logits(
            heads.type_logits(features), types[0].clamp_min(0), reduction="none"
        )
        apart = apart + (of_types * is_labelled).sum() / is_labelled.sum().clamp_min(1)
    return apart, logits
