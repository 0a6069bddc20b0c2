"""The classification network: backbone, pooled statistics, heads, and the attribution map in closed form."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from models.training.backbones import Backbone

_TINY = 1e-8
INPUT_NOISE = 0.1  # standard deviation, added to the standardised statistics in training
INPUT_DROPOUT = 0.3


def pool(maps: list[torch.Tensor]) -> torch.Tensor:
    """Return mean, maximum and standard deviation of each channel of each map: [n, 3 · Σ channels].

    A scratch covers few positions, so it hardly changes the mean, but maximum and deviation show it.
    """
    return torch.cat([torch.cat(_statistics(level), dim=1) for level in maps], dim=1)


class Pooled(nn.Module):
    """A frozen backbone with pooling: the statistics that the heads are trained on."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pool(self.backbone(pixels))


class Heads(nn.Module):
    """An ensemble of small networks on the same statistics. Their mean logit varies less than that of one network."""

    def __init__(self, width: int, hidden: int, ensemble_size: int, dropout: float, types: int = 0) -> None:
        """`types` is the number of defect types, classified by a separate linear layer; 0 for none."""
        super().__init__()
        self.ensemble_size = ensemble_size
        self.dropout = dropout
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.first = nn.Parameter(torch.empty(ensemble_size, width, hidden))
        self.first_bias = nn.Parameter(torch.zeros(ensemble_size, 1, hidden))
        self.second = nn.Parameter(torch.empty(ensemble_size, hidden))
        self.second_bias = nn.Parameter(torch.zeros(ensemble_size))
        nn.init.normal_(self.first, std=(1 / width) ** 0.5)
        nn.init.normal_(self.second, std=(1 / hidden) ** 0.5)
        self.types = nn.Linear(width, types) if types else None

    def fit_standardisation(self, features: torch.Tensor) -> None:
        """Set mean and standard deviation of each statistic from the training features [n, width]."""
        self.mean.copy_(features.mean(0))
        self.std.copy_(features.std(0) + 1e-6)

    def standardise(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.mean) / self.std

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map statistics [n, width] to the logit of each head [n, ensemble_size]."""
        inputs = self.standardise(features).unsqueeze(0).expand(self.ensemble_size, -1, -1)
        if self.training:
            inputs = functional.dropout(inputs + INPUT_NOISE * torch.randn_like(inputs), INPUT_DROPOUT)
        hidden = functional.relu(torch.baddbmm(self.first_bias, inputs, self.first))
        hidden = functional.dropout(hidden, self.dropout, self.training)
        return (hidden * self.second.unsqueeze(1)).sum(2).T + self.second_bias

    def type_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Map statistics [n, width] to one logit per defect type [n, k]."""
        if self.types is None:
            raise ValueError("these heads do not classify defect types")
        inputs = self.standardise(features)
        if self.training:
            inputs = functional.dropout(inputs, INPUT_DROPOUT)
        return self.types(inputs)

    def explained(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean logit [n] and its gradient by the raw statistics [n, width], without autograd."""
        inputs = self.standardise(features).unsqueeze(0).expand(self.ensemble_size, -1, -1)
        before = torch.baddbmm(self.first_bias, inputs, self.first)
        active = (before > 0).to(before.dtype) * self.second.unsqueeze(1)  # [ensemble_size, n, hidden]
        raw = ((before * active).sum(2).T + self.second_bias).mean(1)
        gradient = torch.bmm(active, self.first.transpose(1, 2)).mean(0) / self.std
        return raw, gradient


class Network(nn.Module):
    """Maps pixels [n, 3, side, side] in [0, 1] to raw score [n], embedding [n, d] and relevance [n, h, w].

    The relevance (attribution map) is Grad-CAM (Selvaraju et al., 2017) of every level, with analytic derivatives of the
    pooled statistics, so that it runs inside the exported graph.
    """

    outputs: tuple[str, ...] = ("raw_score", "embedding", "relevance")
    baseline = "place"

    def __init__(self, backbone: Backbone, *, hidden: int, ensemble_size: int, dropout: float, types: int = 0) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = Heads(3 * sum(backbone.channels), hidden, ensemble_size, dropout, types)
        if types:
            self.outputs = (*self.outputs, "type_logits")

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = self.backbone(pixels)
        features = pool(maps)
        raw, gradient = self.heads.explained(features)
        answers = raw, self.heads.standardise(features), _relevance(maps, gradient)
        return answers if self.heads.types is None else (*answers, self.heads.type_logits(features))


def _statistics(level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    flat = level.flatten(2)
    mean = flat.mean(2)
    deviation = ((flat - mean.unsqueeze(2)).square().mean(2) + _TINY).sqrt()
    return mean, flat.amax(2), deviation


def _relevance(maps: list[torch.Tensor], gradient: torch.Tensor) -> torch.Tensor:
    finest = maps[0].shape[-2:]
    total = torch.zeros_like(maps[0][:, 0])
    start = 0
    for level in maps:
        channels = level.shape[1]
        by_mean, _, by_deviation = gradient[:, start : start + 3 * channels].split(channels, dim=1)
        mean, _, deviation = (statistic[..., None, None] for statistic in _statistics(level))
        away = level - mean
        moved = by_mean[..., None, None] * away
        spread = by_deviation[..., None, None] * (away.square() / deviation - deviation) / 2
        here = (moved + spread).sum(1, keepdim=True)
        total = total + functional.interpolate(here, size=finest, mode="bilinear", align_corners=False)[:, 0]
        start += 3 * channels
    return total
