"""Which patches are worth remembering: a few that lie close to all. Pure."""

from __future__ import annotations

from collections.abc import Callable

import torch

PROJECTED = 64  # dimensions that distances are compared in (Johnson and Lindenstrauss, 1984)


def greedy(
    patches: torch.Tensor, size: int, seed: int, show: Callable[[int, float], None] = lambda done, reach: None
) -> torch.Tensor:
    """Places of `size` rows of `patches` [n, c]: each next one is the farthest from those chosen (k-center greedy).

    Sener and Savarese, 2018, on a random projection as in PatchCore. The same seed gives the same places. `show` is told
    how many are chosen and how far the farthest patch now is from them.
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
