"""Backbone, feature pyramid and anchor-free head, with non-maximum suppression inside the exported graph.

Each position of three feature maps predicts type probabilities and the distances to the four sides of a box (FCOS; Tian et
al., 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import box_iou

from models.training.backbones import Backbone

CANDIDATES = 128  # most probable pairs of position and type, before suppression
OTHER_TYPE = 0.8  # IoU from which boxes of different types count as the same defect
_ROUNDS = 16  # maximum length of a chain of boxes that suppress one another
_REACH = 2.5  # initial distance of a box's sides, in cells
_RARE = 0.01  # initial probability of every type
_EDGE = 0.25  # softness of a box's edge on the relevance map, in cells


class Head(nn.Module):
    """Maps feature maps, fine to coarse, to logits [n, p, k] and boxes [n, p, 4] of all positions.

    Boxes are left, top, right, bottom relative to the sides, and may cross the image's edge. The levels share convolutions
    but not batch normalisation, because their features differ in scale.
    """

    def __init__(self, channels: Sequence[int], n_types: int, width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_Convolution(before, width, 1, 1) for before in channels)
        self.towers = nn.ModuleList(
            nn.ModuleList(_Convolution(width, width, 3, len(channels)) for _ in range(2)) for _ in range(2)
        )
        self.types = nn.Conv2d(width, n_types, 1)
        self.reach = nn.Conv2d(width, 4, 1)
        nn.init.constant_(self.types.bias, math.log(_RARE / (1 - _RARE)))
        nn.init.constant_(self.reach.bias, math.log(math.expm1(_REACH)))
        for last in (self.types, self.reach):
            nn.init.normal_(last.weight, std=0.01)

    def forward(self, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        levels = [lateral(level) for lateral, level in zip(self.lateral, maps, strict=True)]
        for finer in range(len(levels) - 2, -1, -1):
            coarser = functional.interpolate(levels[finer + 1], size=levels[finer].shape[-2:], mode="nearest")
            levels[finer] = levels[finer] + coarser
        logits, boxes = [], []
        for at, level in enumerate(levels):
            of_type = of_reach = level
            for first, second in zip(*self.towers, strict=True):
                of_type, of_reach = first(of_type, at), second(of_reach, at)
            logits.append(self.types(of_type).flatten(2).transpose(1, 2))
            reach = functional.softplus(self.reach(of_reach)).flatten(2).transpose(1, 2)
            middle, cell = centres(level)
            left_top, right_bottom = reach.split(2, dim=2)
            boxes.append(torch.cat([middle - left_top * cell, middle + right_bottom * cell], dim=2))
        return torch.cat(logits, dim=1), torch.cat(boxes, dim=1)


class Network(nn.Module):
    """Maps pixels [n, 3, side, side] in [0, 1] to the outputs of `models.training.kinds.Network`, including boxes.

    The raw score is the largest logit; the relevance of a position is the highest probability of a box that covers it.
    """

    outputs = ("raw_score", "type_logits", "embedding", "relevance", "boxes")
    baseline = "none"

    def __init__(
        self, backbone: Backbone, n_types: int, *, head_channels: int, max_detections: int, nms_iou: float
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = Head(backbone.channels, n_types, head_channels)
        self.max_detections, self.nms_iou = max_detections, nms_iou

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = self.backbone(pixels)
        logits, boxes = self.head(maps)
        type_logits = logits.amax(1)
        embedding = torch.cat([level.mean((2, 3)) for level in maps], dim=1)
        score, kind, places = candidates(logits, boxes)
        relevance = _painted(score, places, maps[0].shape[-2:])
        return type_logits.amax(1), type_logits, embedding, relevance, self.detections(score, kind, places)

    def detections(self, score: torch.Tensor, kind: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Map candidates to boxes [n, max_detections, 6] as in `models.training.kinds.Network`."""
        score = score * kept(boxes, kind, self.nms_iou)
        best, order = score.topk(min(self.max_detections, score.shape[1]))
        rows = torch.cat([boxes, score.unsqueeze(2), kind.to(boxes.dtype).unsqueeze(2)], dim=2)
        rows = rows.gather(1, order.unsqueeze(2).expand(-1, -1, 6)) * (best > 0).to(rows.dtype).unsqueeze(2)
        return functional.pad(rows, (0, 0, 0, self.max_detections - rows.shape[1]))


def centres(level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the centre x, y of every cell of a map [n, c, h, w], [h · w, 2], and a cell's sides [2], relative."""
    height, width = level.shape[-2:]
    x = (torch.arange(width, device=level.device) + 0.5) / width
    y = (torch.arange(height, device=level.device) + 0.5) / height
    middle = torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=1)
    return middle, torch.tensor([1 / width, 1 / height], device=level.device)


def candidates(logits: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the most probable pairs of position and type, best first: probability and type [n, c], box [n, c, 4]."""
    n_types = logits.shape[2]
    best, index = logits.flatten(1).topk(min(CANDIDATES, logits.shape[1] * n_types))
    places = torch.div(index, n_types, rounding_mode="floor")
    chosen = boxes.gather(1, places.unsqueeze(2).expand(-1, -1, 4)).clamp(0, 1)
    return best.sigmoid(), index - places * n_types, chosen


def kept(boxes: torch.Tensor, kind: torch.Tensor, nms_iou: float) -> torch.Tensor:
    """Return 1.0 for boxes to keep and 0.0 for suppressed ones, [n, c], for boxes [n, c, 4], best first.

    Greedy non-maximum suppression as matrix operations, because data-dependent loops cannot be exported: repeating Fast NMS
    (Bolya et al., 2019) on its own result until nothing changes gives the result of the loop (Cluster-NMS; Zheng et al.,
    2021).
    """
    pairs = torch.stack([box_iou(each, each) for each in boxes])
    same = kind.unsqueeze(2) == kind.unsqueeze(1)
    limit = torch.where(same, nms_iou, max(OTHER_TYPE, nms_iou))
    better = torch.ones_like(pairs).triu(1)
    covers = (pairs > limit).to(pairs.dtype) * better
    stays = torch.ones_like(covers[:, :1])
    for _ in range(_ROUNDS):
        stays = 1 - (stays @ covers).clamp(max=1)
    return stays[:, 0]


class _Convolution(nn.Module):
    """Convolution, batch normalisation per level, activation."""

    def __init__(self, before: int, after: int, side: int, levels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, side, padding=side // 2, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _ in range(levels))

    def forward(self, inputs: torch.Tensor, level: int = 0) -> torch.Tensor:
        return functional.silu(self.norms[level](self.convolution(inputs)))


def _painted(score: torch.Tensor, boxes: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Return [n, h, w]: for each position, the probability of the best candidate that covers it."""
    height, width = size
    x, y = ((torch.arange(length, device=boxes.device) + 0.5) / length for length in (width, height))
    left, top, right, bottom = (side.unsqueeze(2) for side in boxes.unbind(2))
    across = torch.minimum(x - left, right - x) * (width / _EDGE)
    down = torch.minimum(y - top, bottom - y) * (height / _EDGE)
    inside = across.sigmoid().unsqueeze(2) * down.sigmoid().unsqueeze(3)
    return (score[..., None, None] * inside).amax(1)
