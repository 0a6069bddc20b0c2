"""Splits a backbone into a frozen part, whose features are cached, and a trained part."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from models.training.backbones import Backbone


class Frozen(nn.Module):
    """Maps pixels to the frozen feature maps, concatenated into one row: [n, Σ c·h·w]."""

    def __init__(self, maps: nn.Module) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([level.flatten(1) for level in self.maps(pixels)], dim=1)


class Kept(nn.Module):
    """Maps rows of `Frozen` back to feature maps of `shapes` (c, h, w)."""

    def __init__(self, shapes: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.shapes = [tuple(shape) for shape in shapes]

    def forward(self, rows: torch.Tensor) -> list[torch.Tensor]:
        sizes = [c * h * w for c, h, w in self.shapes]
        parts = rows.split(sizes, dim=1)
        return [
            part.reshape(-1, *shape).contiguous(memory_format=torch.channels_last)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]


class Stem(nn.Module):
    """Maps pixels to the finest feature map."""

    def __init__(self, backbone: Backbone, stage: int) -> None:
        super().__init__()
        body = backbone.body
        self.register_buffer("mean", backbone.mean)
        self.register_buffer("std", backbone.std)
        self.stem = nn.Sequential(body.conv_stem, body.bn1)
        self.first = body.blocks[: stage + 1]

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        return [self.first(self.stem((pixels - self.mean) / self.std))]


class Tail(nn.Module):
    """Maps the row of the finest feature map to all feature maps, by the stages after it."""

    def __init__(self, backbone: Backbone, stages: Sequence[int], shape: Sequence[int]) -> None:
        super().__init__()
        self.kept = Kept([shape])
        self.first, self.wanted = stages[0] + 1, set(stages[1:])
        self.blocks = backbone.body.blocks[self.first :]

    def forward(self, rows: torch.Tensor) -> list[torch.Tensor]:
        maps = self.kept(rows)
        inputs = maps[0]
        for number, block in enumerate(self.blocks, start=self.first):
            inputs = block(inputs)
            if number in self.wanted:
                maps.append(inputs)
        return maps


def stages(backbone: Backbone) -> list[int] | None:
    """Return the indices of the blocks that give the feature maps, or None if the body is not a chain of blocks."""
    body = backbone.body
    named = [str(body.feature_info[level].get("module", "")) for level in backbone.levels]
    if not all(hasattr(body, name) for name in ("conv_stem", "bn1", "blocks")):
        return None
    if not all(name.startswith("blocks.") and name.count(".") == 1 for name in named):
        return None
    return [int(name.split(".")[1]) for name in named]
