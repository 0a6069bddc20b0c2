"""Lightning modules that train the heads, and optionally the backbone: loss, optimiser, schedule and logging."""

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
    """Trains the heads on cached statistics. Batches are (statistics, target in {0, 1}), then types as in `loss`.

    The random numbers of each batch follow from the seed and its index, so a resumed training ends with exactly the same
    weights.
    """

    def __init__(self, network: Network, params: Train, *, share_defective: float) -> None:
        super().__init__()
        self.params = params
        self.learner = network.heads  # only the heads are part of the checkpoint
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
    """Trains heads and backbone together. Batches are (pixels, target in {0, 1}), then types as in `loss`.

    Noise and initial weights of the heads assume standardised statistics, so the network comes with a standardisation
    from the training images. Batch normalisation keeps its pretrained statistics, because those of small batches would
    not match this standardisation.
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
    """Collects the validation batches and logs their metrics."""

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
    """Return a class weight half way, on a log scale, between no weighting and equal class weights."""
    return float(((1 - share_defective) / share_defective) ** 0.5)


def loss(heads: Heads, batch: list[torch.Tensor], positive_weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the binary cross-entropy of every head's logit, plus that of each defect type if there are several, and the
    logits [n, ensemble_size].

    A batch is (statistics, target in {0, 1}), and with several types also [n, k] in {0, 1}, −1 for unknown types.
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
