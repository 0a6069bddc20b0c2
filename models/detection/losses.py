"""Assignment of positions to ground truth boxes, and the loss. Pure.

Positions are assigned to boxes by their present predictions of type and box (task-aligned assignment; TOOD, Feng et al.,
2021), with the exponents of YOLOv8.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from torchvision.ops import complete_box_iou_loss

PLACES = 10  # maximum positions per box
TYPE_EXPONENT, PLACE_EXPONENT = 0.5, 6.0
BOX_WEIGHT = 5.0  # weight of the box loss relative to the type loss
NOTHING = -1  # type of a padding row
_TINY = 1e-9


def loss(
    logits: torch.Tensor, boxes: torch.Tensor, middles: torch.Tensor, nearest: float, truth: torch.Tensor
) -> torch.Tensor:
    """Return the loss: binary cross-entropy of the types plus complete IoU of the boxes (Zheng et al., 2020).

    logits [n, p, k]; boxes [n, p, 4] and the centres of positions `middles` [p, 2] relative to the sides; truth [n, m, 5]
    as in `models.dataset.examples.Examples`, padded with rows of type `NOTHING`. `nearest` as in `assigned`.
    """
    with torch.no_grad():
        wanted, owner = assigned(logits.sigmoid(), boxes, middles, nearest, truth)
    whole = wanted.sum().clamp(min=1)
    of_types = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / whole
    weight = wanted.sum(2)
    learns = owner >= 0
    if not learns.any():
        return of_types + 0 * boxes.sum()  # so that every parameter has a gradient
    image, _ = learns.nonzero(as_tuple=True)
    apart = complete_box_iou_loss(boxes[learns], truth[image, owner[learns], :4])
    return of_types + BOX_WEIGHT * (apart * weight[learns]).sum() / whole


def assigned(
    probability: torch.Tensor, boxes: torch.Tensor, middles: torch.Tensor, nearest: float, truth: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return target probabilities [n, p, k], and the index of each position's box [n, p], -1 for none.

    A position can be assigned to a box if it lies inside it, or within `nearest` (relative to the sides) of its centre, so
    that a box smaller than a cell also gets a position.
    """
    real = truth[..., 4] >= 0  # [n, m]
    if not truth.shape[1]:
        return torch.zeros_like(probability), torch.full(probability.shape[:2], -1, device=truth.device)
    kind = truth[..., 4].clamp(min=0).long()
    left_top, right_bottom = truth[..., None, :2], truth[..., None, 2:4]  # [n, m, 1, 2]
    inside = torch.minimum(middles - left_top, right_bottom - middles).amin(3) > 0
    close = (middles - (left_top + right_bottom) / 2).abs().amax(3) <= nearest
    allowed = (inside | close) & real.unsqueeze(2)  # [n, m, p]
    overlap = _overlaps(truth[..., :4], boxes)  # [n, m, p]
    says = probability.transpose(1, 2).gather(1, kind.unsqueeze(2).expand(-1, -1, probability.shape[1]))
    aligned = says**TYPE_EXPONENT * overlap**PLACE_EXPONENT * allowed
    best, places = (aligned + _TINY * allowed).topk(min(PLACES, aligned.shape[2]))
    chosen = torch.zeros_like(allowed).scatter(2, places, best > 0)
    # A position in several boxes is assigned to the one with the highest IoU.
    owner = torch.where(chosen, overlap, -1.0).argmax(1)  # [n, p]
    some = chosen.any(1)
    mine = functional.one_hot(owner, truth.shape[1]).transpose(1, 2).bool() & some.unsqueeze(1)
    aligned, overlap = aligned * mine, overlap * mine
    share = aligned / (aligned.amax(2, keepdim=True) + _TINY) * overlap.amax(2, keepdim=True)
    of_place = share.amax(1).unsqueeze(2)  # [n, p, 1]
    of_type = functional.one_hot(kind.gather(1, owner), probability.shape[2])
    return of_type * of_place * some.unsqueeze(2), torch.where(some, owner, -1)


def _overlaps(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the IoU of every pair: [n, m, 4] and [n, p, 4] to [n, m, p]."""
    a, b = first.unsqueeze(2), second.unsqueeze(1)
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    common = sides.prod(3)
    area_a, area_b = ((box[..., 2:] - box[..., :2]).clamp(min=0).prod(3) for box in (a, b))
    return common / (area_a + area_b - common + _TINY)
