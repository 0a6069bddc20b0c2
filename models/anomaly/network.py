"""PatchCore (Roth et al., 2022): the distance of each patch of an image to a memory bank of patches of good parts."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from models.training.backbones import Backbone, described

LEVELS = 2  # feature maps that are used; the last one represents objects rather than texture
AROUND = 3  # positions that are averaged into one patch, for tolerance to small displacements
FINER = 4  # resolution of the heatmap relative to the grid of patches
BLUR = 1.75  # standard deviation in cells of the finer grid; relative to the image as in the paper


class Patches(nn.Module):
    """Maps pixels [n, 3, side, side] in [0, 1] to locally aware patch features [n, c, h, w] of a frozen backbone."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.width = sum(backbone.channels[:LEVELS])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        around = [
            functional.avg_pool2d(level, AROUND, 1, AROUND // 2, count_include_pad=False)
            for level in self.backbone(pixels)[:LEVELS]
        ]
        finest = around[0].shape[-2:]
        larger = [functional.interpolate(level, size=finest, mode="bilinear") for level in around[1:]]
        return torch.cat([around[0], *larger], dim=1)


class Smooth(nn.Module):
    """Upsamples and blurs a map [n, h, w] to [n, 4h, 4w] for display."""

    def __init__(self) -> None:
        super().__init__()
        kernel = torch.exp(-(torch.arange(-6, 7).float() ** 2) / (2 * BLUR**2))
        self.register_buffer("kernel", kernel / kernel.sum(), persistent=False)

    def forward(self, coarse: torch.Tensor) -> torch.Tensor:
        size = (coarse.shape[1] * FINER, coarse.shape[2] * FINER)
        fine = functional.interpolate(coarse.unsqueeze(1), size=size, mode="bilinear")
        reach = len(self.kernel) // 2
        fine = functional.pad(fine, (reach, reach, reach, reach), mode="replicate")
        across = functional.conv2d(fine, self.kernel.view(1, 1, 1, -1))
        return functional.conv2d(across, self.kernel.view(1, 1, -1, 1))[:, 0]


class Network(nn.Module):
    """Maps pixels [n, 3, side, side] in [0, 1] to raw score [n], embedding [n, 2c] and relevance [n, h, w].

    The raw score is the largest distance of a patch to the bank. The relevance (anomaly map) holds all distances,
    smoothed. The embedding is mean and standard deviation of the patches, used for drift monitoring.
    """

    outputs = ("raw_score", "embedding", "relevance")
    baseline = "overall"

    def __init__(self, backbone: Backbone, memory_bank_size: int) -> None:
        super().__init__()
        self.patches = Patches(backbone)
        self.register_buffer("bank", torch.zeros(memory_bank_size, self.patches.width))
        self.smooth = Smooth()

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        patches = self.patches(pixels)
        distance = self.distances(patches)
        return distance.flatten(1).amax(1), described([patches]), self.smooth(distance)

    def distances(self, patches: torch.Tensor) -> torch.Tensor:
        """Return the Euclidean distance [n, h, w] of each patch [n, c, h, w] to its nearest neighbour in the bank."""
        n, _, height, width = patches.shape
        rows = patches.flatten(2).transpose(1, 2)
        squared = (self.bank.square().sum(1) - 2 * rows @ self.bank.T).amin(2) + rows.square().sum(2)
        return squared.clamp_min(1e-12).sqrt().view(n, height, width)
