"""Fine-tuning of pretrained and new layers: optimiser, schedule and averaged weights, shared by the kinds."""

from __future__ import annotations

import copy

import lightning
import torch
from torch import nn

from models.params import Train
from models.training.fitting import seed_step

WARM_UP = 0.1  # share of all steps with a rising learning rate; then it follows a cosine
AVERAGED_OVER = 0.25  # share of all steps over which the weights are averaged
LARGEST_GRADIENT = 10.0


class FineTuning(lightning.LightningModule):
    """`learner` is trained; `averaged`, its running average, is validated and kept.

    Averaging saves epochs with a small learning rate (Polyak and Juditsky, 1992). Both are part of the checkpoint. Batch
    normalisation of frozen layers keeps its statistics.
    """

    pretrained_share = 0.5  # share of the learning rate for pretrained layers
    keeps_statistics = False  # whether trained pretrained layers keep their batch statistics

    def __init__(self, learner: nn.Module, pretrained: nn.Module, params: Train) -> None:
        """`pretrained` is the part of `learner` that is trained with a lower learning rate, if it is trained."""
        super().__init__()
        self.params = params
        self.learner = learner
        self.averaged = copy.deepcopy(learner).requires_grad_(False).eval()
        self._pretrained = [pretrained]  # in a list, so that it is not registered twice

    def keep_averaged(self) -> None:
        """Copy the averaged weights to the learner, after training."""
        self.learner.load_state_dict(self.averaged.state_dict())

    def on_train_epoch_start(self) -> None:
        self.averaged.eval()
        if self.keeps_statistics:
            self._pretrained[0].eval()
        for part in self.learner.modules():
            if isinstance(part, nn.BatchNorm2d) and not part.weight.requires_grad:
                part.eval()

    def on_train_batch_start(self, batch: list[torch.Tensor], number: int) -> None:
        seed_step(self.params.seed, self.current_epoch, number)

    def on_before_optimizer_step(self, _: torch.optim.Optimizer) -> None:
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), LARGEST_GRADIENT)

    @torch.no_grad()
    def on_train_batch_end(self, *_: object) -> None:
        done, in_all = self.global_step, int(self.trainer.estimated_stepping_batches)
        reach = max(AVERAGED_OVER * in_all, 1)
        stays = min(1 - 1 / reach, (1 + done) / (10 + done))  # the first steps have less weight
        for kept, new in zip(self.averaged.state_dict().values(), self.learner.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - stays)
            else:
                kept.copy_(new)

    def configure_optimizers(self) -> dict:
        rate = self.params.learning_rate
        pretrained = {id(weights) for weights in self._pretrained[0].parameters()}
        learned = [weights for weights in self.learner.parameters() if weights.requires_grad]
        slow = [weights for weights in learned if id(weights) in pretrained]
        new = [weights for weights in learned if id(weights) not in pretrained]
        groups = [
            {"params": weights, "lr": lr}
            for weights, lr in ((slow, self.pretrained_share * rate), (new, rate))
            if weights
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
