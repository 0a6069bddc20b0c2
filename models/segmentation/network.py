"""A U-Net (Ronneberger et al., 2015) on a pretrained backbone, and the image's score from its most suspicious places.

Knows nothing of Lightning, losses or files.
"""

from __future__ import annotations

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import nn
from torch.nn import functional

from models.backbones import Backbone, described

LEVELS = 5  # of the backbone: from every second pixel to every thirty-second
WIDTHS = (96, 64, 40, 24)  # channels of the decoder, from every sixteenth pixel to every second, where it ends
CELL = 2  # places a side that are judged together: a noisy one is no defect
CELLS = 8  # the most suspicious ones, whose mean speaks for the image
CONTEXT = 3  # of the coarsest levels: what tells types apart, and what drift is measured on


class Network(nn.Module):
    """Pixels [n, 3, side, side] in [0, 1] to raw score [n], embedding [n, d], relevance [n, h, w], and type logits.

    Relevance is the probability of every second pixel. The raw score is the mean logit of the most suspicious cells and
    nothing else: what the image as a whole says is learned by heart (docs/decisions/0015).
    """

    outputs: tuple[str, ...] = ("raw_score", "embedding", "relevance")
    baseline = "none"

    def __init__(self, backbone: Backbone, types: int = 0) -> None:
        """`types` defect types to tell apart by the features where the defect is; 0 for none."""
        super().__init__()
        self.backbone = backbone
        self.decoder = UnetDecoder((0, *backbone.channels), WIDTHS, n_blocks=len(WIDTHS))
        self.pixel = nn.Conv2d(WIDTHS[-1], 1, 3, padding=1)
        nn.init.constant_(self.pixel.bias, -3.0)  # few pixels are defective
        context = backbone.channels[-CONTEXT:]
        self.types = nn.Linear(sum(context), types) if types else None
        if types:
            self.outputs = (*self.outputs, "type_logits")

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        raw, maps, logits, types = self.learned(pixels)
        answers = raw, described(maps[-CONTEXT:]), logits.sigmoid()
        return answers if types is None else (*answers, types)

    def learned(
        self, pixels: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor, torch.Tensor | None]:
        """Raw score [n], the backbone's maps, the places' logits [n, h, w], type logits [n, k]."""
        maps = self.backbone(pixels)
        logits = self.pixel(self.decoder([pixels, *maps]))
        suspicious = functional.avg_pool2d(logits, CELL).flatten(1)
        raw = suspicious.topk(min(CELLS, suspicious.shape[1])).values.mean(1)
        types = None if self.types is None else self.types(self._where_defective(maps[-CONTEXT:], logits))
        return raw, maps, logits[:, 0], types

    def _where_defective(self, maps: list[torch.Tensor], logits: torch.Tensor) -> torch.Tensor:
        """The mean of each level's channels [n, Σ channels], every place weighted by the likeliest defect in it."""
        found = []
        for level in maps:
            times = max(logits.shape[-1] // level.shape[-1], 1)
            likeliest = functional.max_pool2d(logits, times, ceil_mode=True)
            weight = functional.interpolate(likeliest, size=level.shape[-2:], mode="nearest").sigmoid().detach()
            found.append((level * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1e-6))
        return functional.dropout(torch.cat(found, dim=1), 0.3, self.training)
