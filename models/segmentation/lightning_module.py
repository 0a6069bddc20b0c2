"""Lightning module of the segmentation network: losses of pixels, images and types, and logging."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from models.params import Train
from models.segmentation.network import Network, UNetOutput, score
from models.training.fine_tuning import FineTuning

OF_IMAGES = 0.3  # weight of the image loss, relative to 1 for the pixel loss


class Segmentation(FineTuning):
    """Batches are (pixels, target [n], types [n, k], mask [n, side, side], whether the mask is known [n]).

    The pixel loss is cross-entropy plus, because few pixels are defective, the Dice loss (Milletari et al., 2016) of the
    whole batch. A defective image without a mask trains only score and types. The U-Nets are trained independently. Batch
    normalisation keeps its pretrained statistics, because there are few defects.
    """

    learner: Network
    averaged: Network
    pretrained_share = 0.25
    keeps_statistics = True

    def __init__(self, network: Network, params: Train) -> None:
        super().__init__(network, network.tuned.backbone, params)
        self._validation: list[tuple[np.ndarray, np.ndarray]] = []
        self._overlap = np.zeros(2)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        apart, _outputs = self._loss(self.learner, batch)
        self.log("train_loss", apart, on_epoch=True, on_step=False, batch_size=len(batch[0]), sync_dist=True)
        return apart

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        apart, outputs = self._loss(self.averaged, batch)
        self.log("val_loss", apart, batch_size=len(batch[0]), sync_dist=True)
        self._validation.append((score(outputs).float().cpu().numpy(), batch[1].cpu().numpy()))
        has_mask = batch[4] > 0
        predicted, true = (_as_fine_as(batch[3], outputs[0].logits) > 0)[has_mask], batch[3][has_mask] > 0.5
        self._overlap += float((predicted & true).sum()), float((predicted | true).sum())

    def on_validation_epoch_end(self) -> None:
        raw, target = (np.concatenate(parts) for parts in zip(*self._validation, strict=True))
        self._validation.clear()
        if 0 < target.sum() < len(target):
            self.log("val_auroc", float(roc_auc_score(target, raw)), sync_dist=True)
        if self._overlap[1]:
            self.log("val_iou", float(self._overlap[0] / self._overlap[1]), sync_dist=True)
        self._overlap[:] = 0

    def _loss(self, network: Network, batch: list[torch.Tensor]) -> tuple[torch.Tensor, list[UNetOutput]]:
        """Return the batch's loss and the output of each U-Net."""
        pixels, target, types, mask, has_mask = batch
        outputs, type_logits = network.learned(pixels.contiguous(memory_format=torch.channels_last))
        loss = torch.stack([_of_one(one, target, mask, has_mask) for one in outputs]).sum()
        if type_logits is not None:
            is_labelled = types >= 0
            of_types = functional.binary_cross_entropy_with_logits(type_logits, types.clamp_min(0), reduction="none")
            loss = loss + (of_types * is_labelled).sum() / is_labelled.sum().clamp_min(1)
        return loss, outputs


def _of_one(output: UNetOutput, target: torch.Tensor, mask: torch.Tensor, has_mask: torch.Tensor) -> torch.Tensor:
    """Return the image and pixel loss of one U-Net."""
    logits = _as_fine_as(mask, output.logits)
    weight = has_mask.view(-1, 1, 1).expand_as(mask)
    of_pixels = functional.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    return (
        OF_IMAGES * functional.binary_cross_entropy_with_logits(output.raw, target)
        + (of_pixels * weight).sum() / weight.sum().clamp_min(1)
        + _dice(logits.sigmoid() * weight, mask * weight)
    )


def _as_fine_as(mask: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(logits[:, None], size=mask.shape[-2:], mode="bilinear")[:, 0]


def _dice(probability: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the Dice loss over all pixels of the batch. Both inputs are 0 for images without a known mask."""
    return 1 - (2 * (probability * mask).sum() + 1) / (probability.sum() + mask.sum() + 1)
