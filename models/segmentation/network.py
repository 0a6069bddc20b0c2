"""U-Nets (Ronneberger et al., 2015) on pretrained backbones. The image's score comes from its most suspicious places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import nn
from torch.nn import functional

from models.training.backbones import Backbone, described

LEVELS = 5  # feature maps of the backbone, with strides 2 to 32
WIDTHS = (96, 64, 40, 24)  # channels of the decoder, with strides 16 to 2
UNCHANGED = 3  # number of widths for the decoder of the unchanged backbone, which ends at stride 4
CELL_PX = 4  # logits are averaged over cells of this size, so that single noisy pixels do not count
CELLS = 8  # number of most suspicious cells whose mean logit is the raw score
CONTEXT = 3  # coarsest levels, used for defect types and drift monitoring


class UNetOutput(NamedTuple):
    """Output of one U-Net: raw score [n], logits of positions [n, h, w], and the backbone's feature maps."""

    raw: torch.Tensor
    logits: torch.Tensor
    maps: list[torch.Tensor]


class UNet(nn.Module):
    """Maps pixels [n, 3, side, side] in [0, 1] to logits at the decoder's resolution. `widths` go from coarse to fine.

    The raw score is the mean logit of the most suspicious cells. A classifier on global features would overfit
    (docs/decisions/0015).
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
    """Return the mean raw score [n] of the U-Nets."""
    return torch.stack([one.raw for one in outputs]).mean(0)


class Network(nn.Module):
    """Maps pixels [n, 3, side, side] in [0, 1] to raw score [n], embedding [n, d], relevance [n, h, w] and type logits.

    The relevance is the pixel probability of the U-Net `tuned`, at stride 2. If its backbone is trained, a second U-Net,
    `unchanged`, uses the pretrained backbone, and the raw score is the mean of both: a trained backbone finds outlines of
    known defects better, but forgets other anomalies (docs/decisions/0015).
    """

    outputs: tuple[str, ...] = ("raw_score", "embedding", "relevance")
    baseline = "none"

    def __init__(self, backbone: Backbone, types: int = 0, unchanged: Backbone | None = None) -> None:
        """`types` is the number of defect types, classified by the features at the defect; 0 for none."""
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
        """Return the outputs of the U-Nets, the tuned one first, and type logits [n, k]."""
        outputs = [one(pixels) for one in (self.tuned, self.unchanged) if one is not None]
        types = None if self.types is None else self.types(self._where_defective(outputs[0]))
        return outputs, types

    def _where_defective(self, output: UNetOutput) -> torch.Tensor:
        """Return the mean of each level's channels [n, Σ channels], weighted by the defect probability of positions."""
        pooled = []
        for level in output.maps[-CONTEXT:]:
            times = max(output.logits.shape[-1] // level.shape[-1], 1)
            likeliest = functional.max_pool2d(output.logits[:, None], times, ceil_mode=True)
            weight = functional.interpolate(likeliest, size=level.shape[-2:], mode="nearest").sigmoid().detach()
            pooled.append((level * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1e-6))
        return functional.dropout(torch.cat(pooled, dim=1), 0.3, self.training)
