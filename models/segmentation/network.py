"""U-Nets (Ronneberger et al., 2015) on pretrained backbones, and the image's score from its most suspicious places.

Knows nothing of Lightning, losses or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import nn
from torch.nn import functional

from models.training.backbones import Backbone, described

LEVELS = 5  # of the backbone: from every second pixel to every thirty-second
WIDTHS = (96, 64, 40, 24)  # channels of the decoder, from every sixteenth pixel to every second, where it ends
UNCHANGED = 3  # of the widths: where the decoder of a backbone that stays as it was ends, at every fourth pixel
CELL_PX = 4  # places within it are judged together: a noisy one is no defect
CELLS = 8  # the most suspicious ones, whose mean speaks for the image
CONTEXT = 3  # of the coarsest levels: what tells types apart, and what drift is measured on


class UNetOutput(NamedTuple):
    """What one U-Net answers: the image's raw score [n], the places' logits [n, h, w], its backbone's maps."""

    raw: torch.Tensor
    logits: torch.Tensor
    maps: list[torch.Tensor]


class UNet(nn.Module):
    """Pixels [n, 3, side, side] in [0, 1] to logits of places as fine as the decoder, whose `widths` go coarse to fine.

    The raw score is the mean logit of the most suspicious cells and nothing else: what the image as a whole says is
    learned by heart (docs/decisions/0015).
    """

    def __init__(self, backbone: Backbone, widths: Sequence[int]) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = UnetDecoder((0, *backbone.channels), widths, n_blocks=len(widths))
        self.pixel = nn.Conv2d(widths[-1], 1, 3, padding=1)
        nn.init.constant_(self.pixel.bias, -3.0)  # few pixels are defective
        self.cell = CELL_PX >> (LEVELS - len(widths))

    def forward(self, pixels: torch.Tensor) -> UNetOutput:
        maps = self.backbone(pixels)
        logits = self.pixel(self.decoder([pixels, *maps]))
        suspicious = functional.avg_pool2d(logits, self.cell).flatten(1)
        raw = suspicious.topk(min(CELLS, suspicious.shape[1])).values.mean(1)
        return UNetOutput(raw, logits[:, 0], maps)


def score(outputs: Sequence[UNetOutput]) -> torch.Tensor:
    """The raw score [n] of all of them."""
    return torch.stack([one.raw for one in outputs]).mean(0)


class Network(nn.Module):
    """Pixels [n, 3, side, side] in [0, 1] to raw score [n], embedding [n, d], relevance [n, h, w], and type logits.

    `tuned` outlines: relevance is its probability of every second pixel. Where its backbone learns, `unchanged` looks at
    the same pixels with the backbone as it was, and the raw score is the mean of both: learning finds the outlines of
    the defects it was shown, and forgets what else is unusual (docs/decisions/0015).
    """

    outputs: tuple[str, ...] = ("raw_score", "embedding", "relevance")
    baseline = "none"

    def __init__(self, backbone: Backbone, types: int = 0, unchanged: Backbone | None = None) -> None:
        """`types` defect types to tell apart by the features where the defect is; 0 for none."""
        super().__init__()
        self.tuned = UNet(backbone, WIDTHS)
        self.unchanged = None if unchanged is None else UNet(unchanged.requires_grad_(False), WIDTHS[:UNCHANGED])
        self.types = nn.Linear(sum(backbone.channels[-CONTEXT:]), types) if types else None
        if types:
            self.outputs = (*self.outputs, "type_logits")

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs, types = self.learned(pixels)
        answers = score(outputs), described(outputs[-1].maps[-CONTEXT:]), outputs[0].logits.sigmoid()
        return answers if types is None else (*answers, types)

    def learned(self, pixels: torch.Tensor) -> tuple[list[UNetOutput], torch.Tensor | None]:
        """What each U-Net says, the tuned one first, and type logits [n, k]."""
        outputs = [one(pixels) for one in (self.tuned, self.unchanged) if one is not None]
        types = None if self.types is None else self.types(self._where_defective(outputs[0]))
        return outputs, types

    def _where_defective(self, output: UNetOutput) -> torch.Tensor:
        """The mean of each level's channels [n, Σ channels], every place weighted by the likeliest defect in it."""
        pooled = []
        for level in output.maps[-CONTEXT:]:
            times = max(output.logits.shape[-1] // level.shape[-1], 1)
            likeliest = functional.max_pool2d(output.logits[:, None], times, ceil_mode=True)
            weight = functional.interpolate(likeliest, size=level.shape[-2:], mode="nearest").sigmoid().detach()
            pooled.append((level * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1e-6))
        return functional.dropout(torch.cat(pooled, dim=1), 0.3, self.training)
