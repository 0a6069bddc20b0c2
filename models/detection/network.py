"""Backbone, pyramid and anchor-free head; boxes without doubles, inside the exported graph. Knows no losses and no files.

Every place of three feature maps says which types lie around it and how far the box reaches to its four sides (FCOS;
Tian et al., 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import box_iou

from models.training.backbones import Backbone

CANDIDATES = 128  # pairs of place and type that compete for boxes
OTHER_TYPE = 0.8  # two boxes of different types with this IoU are one defect
_ROUNDS = 16  # the longest chain of boxes that suppress one another
_REACH = 2.5  # cells that an untrained box reaches to each side
_RARE = 0.01  # an untrained place's probability of every type
_EDGE = 0.25  # of a cell: how soft a box's edge is on the relevance map


class Head(nn.Module):
    """Feature maps, fine to coarse, to what every place says: logits [n, p, k] and boxes [n, p, 4].

    Boxes are left, top, right, bottom in shares of the sides, and may reach over the edge. The convolutions are shared
    between the levels, their batch statistics are not: the levels' features differ in scale.
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
    """Pixels [n, 3, side, side] in [0, 1] to what `models.training.kinds.Network` says, boxes included.

    The raw score is the logit of the best box; relevance is how sure the boxes are that cover a place.
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
        """Candidates to boxes [n, max_detections, 6] as `models.training.kinds.Network` says."""
        score = score * kept(boxes, kind, self.nms_iou)
        best, order = score.topk(min(self.max_detections, score.shape[1]))
        rows = torch.cat([boxes, score.unsqueeze(2), kind.to(boxes.dtype).unsqueeze(2)], dim=2)
        rows = rows.gather(1, order.unsqueeze(2).expand(-1, -1, 6)) * (best > 0).to(rows.dtype).unsqueeze(2)
        return functional.pad(rows, (0, 0, 0, self.max_detections - rows.shape[1]))


def centres(level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The middle of every cell of a map [n, c, h, w], as x, y: [h · w, 2], and a cell's sides [2], in shares."""
    height, width = level.shape[-2:]
    x = (torch.arange(width, device=level.device) + 0.5) / width
    y = (torch.arange(height, device=level.device) + 0.5) / height
    middle = torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=1)
    return middle, torch.tensor([1 / width, 1 / height], device=level.device)


def candidates(logits: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The likeliest pairs of place and type, best first: probability [n, c], type [n, c], box inside the image [n, c, 4]."""
    n_types = logits.shape[2]
    best, index = logits.flatten(1).topk(min(CANDIDATES, logits.shape[1] * n_types))
    places = torch.div(index, n_types, rounding_mode="floor")
    chosen = boxes.gather(1, places.unsqueeze(2).expand(-1, -1, 4)).clamp(0, 1)
    return best.sigmoid(), index - places * n_types, chosen


def kept(boxes: torch.Tensor, kind: torch.Tensor, nms_iou: float) -> torch.Tensor:
    """1.0 where a box stays, 0.0 where a better one covers the same thing: [n, c], for boxes [n, c, 4], best first.

    Greedy suppression as matrix operations, which export where data-dependent loops don't: repeating Fast NMS
    (Bolya et al., 2019) from its own answer until nothing changes gives what the loop gives (Cluster-NMS; Zheng et
    al., 2021).
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
    """Convolution, batch statistics of each level, activation."""

    def __init__(self, before: int, after: int, side: int, levels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, side, padding=side // 2, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _ in range(levels))

    def forward(self, inputs: torch.Tensor, level: int = 0) -> torch.Tensor:
        return functional.silu(self.norms[level](self.convolution(inputs)))


def _painted(score: torch.Tensor, boxes: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """[n, h, w]: at each place the probability of the best candidate that covers it."""
    height, width = size
    x, y = ((torch.arange(length, device=boxes.device) + 0.5) / length for length in (width, height))
    left, top, right, bottom = (side.unsqueeze(2) for side in boxes.unbind(2))
    across = torch.minimum(x - left, right - x) * (width / _EDGE)
    down = torch.minimum(y - top, bottom - y) * (height / _EDGE)
    inside = across.sigmoid().unsqueeze(2) * down.sigmoid().unsqueeze(3)
    return (score[..., None, None] * inside).amax(1)
