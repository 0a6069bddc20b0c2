"""Student–teacher feature matching: a student trained on good parts disagrees with its teacher on anomalies.

Based on Wang et al., 2021 (STFPM: frozen teacher, levels of its feature pyramid) and Batzner et al., 2024 (EfficientAD:
standardised channels, a small student).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from models.anomaly.network import LEVELS, Smooth
from models.training.backbones import Backbone, described

WIDTHS = (16, 32, 64, 96)  # channels after each halving of the side; twice as many gave no improvement


class Teacher(nn.Module):
    """Maps pixels [n, 3, side, side] in [0, 1] to a frozen backbone's first maps, standardised over good images."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = backbone.channels[:LEVELS]
        for level, width in enumerate(self.channels):
            self.register_buffer(f"mean_{level}", torch.zeros(1, width, 1, 1))
            self.register_buffer(f"std_{level}", torch.ones(1, width, 1, 1))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.standardised(self.backbone(pixels)[:LEVELS])

    def standardised(self, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return tuple(
            (one - getattr(self, f"mean_{level}")) / getattr(self, f"std_{level}") for level, one in enumerate(maps)
        )

    def standardise(self, level: int, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Set mean and standard deviation [c] of the level's channels."""
        getattr(self, f"mean_{level}").copy_(mean.view(1, -1, 1, 1))
        getattr(self, f"std_{level}").copy_(std.view(1, -1, 1, 1) + 1e-6)


class Student(nn.Module):
    """Maps pixels to the predicted teacher's maps, with `channels` at an eighth and a sixteenth of the side."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        first, second, third, fourth = WIDTHS
        self.fine = nn.Sequential(
            _step(3, first, 2), _step(first, second, 2), _step(second, third, 2), _step(third, third, 1)
        )
        self.coarse = nn.Sequential(_step(third, fourth, 2), _step(fourth, fourth, 1))
        self.answers = nn.ModuleList(
            nn.Conv2d(width, wanted, 1) for width, wanted in zip((third, fourth), channels, strict=True)
        )

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fine = self.fine(2 * pixels - 1)
        maps = (fine, self.coarse(fine))
        return tuple(answer(one) for answer, one in zip(self.answers, maps, strict=True))


class Network(nn.Module):
    """Maps pixels [n, 3, side, side] in [0, 1] to raw score [n], embedding [n, 2c] and relevance [n, h, w].

    Relevance (the anomaly map) is the squared disagreement of student and teacher, on each level relative to its mean over
    good images; the raw score is its maximum. The embedding is mean and standard deviation of the teacher's channels.
    """

    outputs = ("raw_score", "embedding", "relevance")
    baseline = "overall"

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.teacher = Teacher(backbone)
        self.student = Student(self.teacher.channels)
        # Mean disagreement on good images. The name is part of older checkpoints.
        self.register_buffer("usual", torch.ones(len(self.teacher.channels)))
        self.smooth = Smooth()

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        taught = self.teacher(pixels)
        relevance = self.smooth(self.disagreement(taught, self.student(pixels)))
        return relevance.flatten(1).amax(1), described(list(taught)), relevance

    def disagreement(self, taught: tuple[torch.Tensor, ...], imitated: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Return the disagreement [n, h, w] at the finest level's resolution."""
        finest = taught[0].shape[-2:]
        total = torch.zeros_like(taught[0][:, :1])
        for level, error in enumerate(errors(taught, imitated)):
            here = error / self.usual[level]
            total = total + functional.interpolate(here, size=finest, mode="bilinear", align_corners=False)
        return total[:, 0] / len(taught)


def errors(taught: tuple[torch.Tensor, ...], imitated: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """Return the mean squared difference over the channels of each level, [n, 1, h, w] at the teacher's resolution."""
    return [
        (one - functional.interpolate(other, size=one.shape[-2:], mode="bilinear", align_corners=False))
        .square()
        .mean(1, keepdim=True)
        for one, other in zip(taught, imitated, strict=True)
    ]


def _step(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )
