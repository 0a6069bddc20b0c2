"""Overlapping tiles of large images, and the combination of their predictions. Pure NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from models.vocabulary import Prediction, Region

OVERLAP = 0.25  # minimum share of a tile; smaller defects lie completely in one tile
SAME = 0.5  # share of the smaller box from which overlapping boxes of one type are the same defect


@dataclass(frozen=True)
class Window:
    """Position and size of a tile in pixels of the image."""

    x: int
    y: int
    width: int
    height: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """Return the tile's pixels as a view."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]


def windows(width_px: int, height_px: int, tile_px: int) -> list[Window]:
    """Return tiles that cover the image evenly, row by row. An image no larger than a tile is a single tile."""
    return [
        Window(x, y, min(tile_px, width_px), min(tile_px, height_px))
        for y in _starts(height_px, tile_px)
        for x in _starts(width_px, tile_px)
    ]


def joined(
    answers: Iterable[tuple[Window, Prediction]], width_px: int, height_px: int, *, own_boxes: bool
) -> Prediction:
    """Combine the predictions of the tiles. Regions are combined only if the network predicts boxes itself (`own_boxes`).

    Score and raw score are those of the most suspicious tile, each type gets its highest probability, and embedding and
    projection are means. The heatmap is blended between tiles. `answers` is read once, so memory holds one tile's
    prediction and the combined heatmap.
    """
    worst: Prediction | None = None
    types: dict[str, float] = {}
    heat: _Canvas | None = None
    embedding = projection = np.zeros(0)
    regions: list[Region] = []
    n = 0
    for window, answer in answers:
        n += 1
        if worst is None or heat is None:
            heat = _Canvas(answer.heatmap, window, width_px, height_px)
            embedding, projection = (values.astype(np.float64) for values in (answer.embedding, answer.projection))
            worst = answer
        else:
            embedding, projection = embedding + answer.embedding, projection + answer.projection
            worst = answer if answer.raw_score > worst.raw_score else worst
        heat.add(answer.heatmap, window)
        types = {name: max(value, types.get(name, 0.0)) for name, value in answer.class_probabilities.items()}
        regions += [replace(one, x=one.x + window.x, y=one.y + window.y) for one in answer.regions]
    if worst is None or heat is None:
        raise ValueError("an image without tiles")
    return Prediction(
        score=worst.score,
        raw_score=worst.raw_score,
        class_probabilities=types,
        heatmap=heat.result(),
        embedding=(embedding / n).astype(np.float32),
        projection=(projection / n).astype(np.float32),
        regions=once(regions) if own_boxes else (),
    )


def once(regions: Iterable[Region]) -> tuple[Region, ...]:
    """Return the best box of each defect, because overlapping tiles may both contain it."""
    kept: list[Region] = []
    for one in sorted(regions, key=lambda region: -region.score):
        if all(one.defect_type != other.defect_type or _overlap(one, other) < SAME for other in kept):
            kept.append(one)
    return tuple(kept)


class _Canvas:
    """The heatmap of the whole image, as weighted mean of the tiles' heatmaps at their resolution."""

    def __init__(self, first: np.ndarray, window: Window, width_px: int, height_px: int) -> None:
        self.down, self.right = first.shape[0] / window.height, first.shape[1] / window.width  # cells a pixel
        size = max(1, round(height_px * self.down)), max(1, round(width_px * self.right))
        self.heat, self.weight = np.zeros(size, np.float32), np.zeros(size, np.float32)

    def add(self, heat: np.ndarray, window: Window) -> None:
        height, width = heat.shape
        top = min(round(window.y * self.down), self.heat.shape[0] - height)
        left = min(round(window.x * self.right), self.heat.shape[1] - width)
        weight = np.outer(_fade(height), _fade(width))
        place = np.s_[top : top + height, left : left + width]
        self.heat[place] += weight * heat
        self.weight[place] += weight

    def result(self) -> np.ndarray:
        return self.heat / np.maximum(self.weight, 1e-6)


def _fade(n: int) -> np.ndarray:
    """Return weights that fall towards both edges over the minimum overlap, but never reach 0."""
    edge = max(1, round(n * OVERLAP))
    ramp = np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / edge
    return np.minimum(ramp, 1).astype(np.float32)


def _starts(length_px: int, tile_px: int) -> list[int]:
    if length_px <= tile_px:
        return [0]
    n = math.ceil((length_px - tile_px) / (tile_px * (1 - OVERLAP))) + 1
    return [round(at) for at in np.linspace(0, length_px - tile_px, n)]


def _overlap(a: Region, b: Region) -> float:
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    return max(width, 0) * max(height, 0) / min(a.width * a.height, b.width * b.height)
