"""Masks as COCO writes them, by pycocotools: polygons and run lengths, compressed or not, to pixels and back.

pycocotools trusts its input: run lengths that end early give pixels from anywhere in memory. So their sum is checked first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.images.codec import MAX_PIXELS

_MOST_BITS = 40  # of a run length: no mask has as many pixels


def from_polygons(polygons: Sequence[Sequence[float]], *, width: int, height: int) -> np.ndarray:
    """Filled polygons (x, y, x, y, … in pixels, corners counted as COCO does) as bool [height, width]."""
    from pycocotools import mask

    filled = np.zeros((height, width), bool)
    shapes = [list(map(float, points)) for points in polygons]
    for runs in mask.frPyObjects(shapes, height, width) if shapes else ():
        filled |= mask.decode(runs).astype(bool)
    return filled


def from_runs(shape: dict[str, Any]) -> np.ndarray:
    """`size` [height, width] and `counts`, a list or a compressed string, as bool. Raises as `check_runs` does."""
    from pycocotools import mask

    check_runs(shape)
    height, width = shape["size"]
    counts = shape["counts"]
    runs = (
        mask.frPyObjects(shape, height, width)
        if isinstance(counts, list)
        else {"size": [height, width], "counts": counts}
    )
    return mask.decode(runs).astype(bool)


def to_runs(pixels: np.ndarray) -> dict[str, Any]:
    """Compressed run lengths of a mask bool [h, w]."""
    from pycocotools import mask

    runs = mask.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode("ascii")}


def check_runs(shape: dict[str, Any]) -> None:
    """Raises ValueError when the run lengths are malformed or their sum is not the size that they state."""
    size, counts = shape.get("size"), shape.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)):
        raise ValueError(f"size {size!r} of its run lengths is no [height, width]")
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"its run lengths are for {size[1]}×{size[0]} px, more than {MAX_PIXELS:,} in all")
    if isinstance(counts, str):
        runs = _unpacked(counts)
    elif isinstance(counts, list) and all(isinstance(run, int) and not isinstance(run, bool) for run in counts):
        runs = counts
    else:
        raise ValueError("counts of its run lengths are neither a list of whole numbers nor a string")
    if any(run < 0 for run in runs):
        raise ValueError("its run lengths hold a negative number")
    if sum(runs) != size[0] * size[1]:
        raise ValueError(
            f"its run lengths add up to {sum(runs)} pixels, {size[1]}×{size[0]} px have {size[0] * size[1]}"
        )


def _unpacked(counts: str) -> list[int]:
    """The runs of a compressed string: 5 bits a character from "0" on, the sixth says that more follow, the highest
    of the last five is the sign; from the fourth run on it is the difference to the run before the last."""
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise ValueError(f"character {character!r} in its compressed run lengths is none of theirs")
        if shift > _MOST_BITS:
            raise ValueError("a number in its compressed run lengths has no end")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("its compressed run lengths are cut off")
    return runs
