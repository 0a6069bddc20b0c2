"""Large images as overlapping tiles: where they lie, and one prediction from those of all of them. Pure NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from models.vocabulary import Prediction, Region

OVERLAP = 0.25  # of a tile, at least: a defect up to that size lies whole in one of them
SAME = 0.5  # overlap of two boxes of one type in the smaller one from which they are the same defect


@dataclass(frozen=True)
class Window:
    """A tile's place in pixels of the image."""

    x: int
    y: int
    width: int
    height: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """A view, no copy."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]


def windows(width_px: int, height_px: int, tile_px: int) -> list[Window]:
    """Tiles that cover the image evenly, row by row; one of the image's own size where it is no larger than a tile."""
    return [
        Window(x, y, min(tile_px, width_px), min(tile_px, height_px))
        for y in _starts(height_px, tile_px)
        for x in _starts(width_px, tile_px)
    ]


def joined(
    answers: Iterable[tuple[Window, Prediction]], width_px: int, height_px: int, *, own_boxes: bool
) -> Prediction:
    """What the tiles say about the whole image; regions only where the network finds boxes itself (`own_boxes`).

    The most suspicious tile gives score and raw score, every type its highest probability, embedding and projection
    are means. The heatmap fades from tile to tile, so that it has no seams. `answers` is read once: memory holds one
    tile's prediction and the joined heatmap.
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
    """The best box of each defect: neighbouring tiles both see what lies where they overlap."""
    kept: list[Region] = []
    for one in sorted(regions, key=lambda region: -region.score):
        if all(one.defect_type != other.defect_type or _overlap(one, other) < SAME for other in kept):
            kept.append(one)
    return tuple(kept)


class _Canvas:
    """The heatmap of the whole image at the resolution that a tile's heatmap has, as weighted mean of the tiles."""

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
    """Weights that fall towards both edges, over the least width in which two tiles overlap; never 0."""
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
