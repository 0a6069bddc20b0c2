"""Polygons around the areas of a mask along pixel edges, so that filling them gives the same pixels. Pure."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

Point = tuple[int, int]  # x, y of a pixel's corner


def outlines(mask: np.ndarray) -> tuple[list[list[Point]], int]:
    """Return the outline of every area of a mask bool [h, w], and the number of holes, which outlines cannot represent.

    Pixels that touch only at a corner are separate areas. Every edge between inside and outside is followed once, with the
    inside on the right; a counter-clockwise loop surrounds a hole.
    """
    following: dict[Point, list[Point]] = defaultdict(list)
    padded = np.pad(mask, 1)
    for (down, right), (x0, y0), (x1, y1) in (
        ((-1, 0), (0, 0), (1, 0)),
        ((0, 1), (1, 0), (1, 1)),
        ((1, 0), (1, 1), (0, 1)),
        ((0, -1), (0, 1), (0, 0)),
    ):
        outside = ~np.roll(padded, (-down, -right), (0, 1))[1:-1, 1:-1]
        for y, x in np.argwhere(mask & outside).tolist():
            following[(x + x0, y + y0)].append((x + x1, y + y1))
    loops: list[list[Point]] = []
    holes = 0
    while following:
        loop = _walked(following)
        if _area(loop) > 0:
            loops.append(loop)
        else:
            holes += 1
    return loops, holes


def _walked(following: dict[Point, list[Point]]) -> list[Point]:
    """Remove one loop from the edges and return its corners."""
    start = next(iter(following))
    at, heading = start, (0, 0)
    corners: list[Point] = []
    while True:
        ahead = following[at]
        # At a crossing, the right turn stays at the same pixel.
        turn = (at[0] - heading[1], at[1] + heading[0])
        step = turn if turn in ahead else ahead[0]
        ahead.remove(step)
        if not ahead:
            del following[at]
        now = (step[0] - at[0], step[1] - at[1])
        if now != heading:
            corners.append(at)
        at, heading = step, now
        if at == start and (at not in following or (at[0] - heading[1], at[1] + heading[0]) not in following[at]):
            break
    return corners


def _area(loop: list[Point]) -> int:
    """Return twice the signed area, positive for a loop that is clockwise on the screen."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(loop, [*loop[1:], loop[0]], strict=True))
