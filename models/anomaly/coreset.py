"""Coreset selection for the memory bank: few patches that lie close to all others. Pure."""

from __future__ import annotations

from collections.abc import Callable

import torch

PROJECTED = 64  # dimensions of the random projection for distances (Johnson and Lindenstrauss, 1984)


def greedy(
    patches: torch.Tensor, size: int, seed: int, show: Callable[[int, float], None] = lambda done, reach: None
) -> torch.Tensor:
    """Choose `size` rows of `patches` [n, c], each the farthest from those chosen before (k-center greedy).

    Sener and Savarese, 2018, on a random projection as in PatchCore. Returns indices; the same seed gives the same ones.
    `show` is called with the number of chosen patches and the distance of the farthest remaining one.
    """
    random = torch.Generator().manual_seed(seed)
    projection = torch.randn(patches.shape[1], min(PROJECTED, patches.shape[1]), generator=random)
    points = patches @ (projection / projection.shape[1] ** 0.5)
    size = min(size, len(points))
    chosen = torch.empty(size, dtype=torch.long)
    nearest = torch.full((len(points),), float("inf"))
    place = int(torch.randint(len(points), (1,), generator=random))
    for number in range(size):
        chosen[number] = place
        nearest = torch.minimum(nearest, (points - points[place]).square().sum(1))
        place = int(nearest.argmax())
        show(number + 1, float(nearest[place]) ** 0.5)
    return chosen
