"""COCO masks by pycocotools: converts polygons and run lengths, compressed or not, to pixels and back.

pycocotools does not check its input: run lengths that end too early make it read beyond its buffers. So their sum is checked
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.images.codec import MAX_PIXELS

_MOST_BITS = 40  # of a run length; no mask has that many pixels


def from_polygons(polygons: Sequence[Sequence[float]], *, width: int, height: int) -> np.ndarray:
    """Fill polygons (x, y, x, y, … in pixels, in COCO's convention). Returns bool [height, width]."""
    from pycocotools import mask

    filled = np.zeros((height, width), bool)
    shapes = [list(map(float, points)) for points in polygons]
    for runs in mask.frPyObjects(shapes, height, width) if shapes else ():
        filled |= mask.decode(runs).astype(bool)
    return filled


def from_runs(shape: dict[str, Any]) -> np.ndarray:
    """Decode run lengths: `size` [height, width] and `counts`, a list or a compressed string. Returns bool [height, width].
    Raises ValueError as `check_runs` does."""
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
    """Return the compressed run lengths of a mask bool [h, w]."""
    from pycocotools import mask

    runs = mask.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode("ascii")}


def check_runs(shape: dict[str, Any]) -> None:
    """Raise ValueError if the run lengths are malformed or do not add up to the stated size."""
    size, counts = shape.get("size"), shape.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)):
        raise ValueError(f"the size {size!r} of its run lengths is not [height, width]")
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"its run lengths are for {size[1]}×{size[0]} px, more than the limit of {MAX_PIXELS:,}")
    if isinstance(counts, str):
        runs = _unpacked(counts)
    elif isinstance(counts, list) and all(isinstance(run, int) and not isinstance(run, bool) for run in counts):
        runs = counts
    else:
        raise ValueError("the counts of its run lengths are neither a list of integers nor a string")
    if any(run < 0 for run in runs):
        raise ValueError("its run lengths contain a negative number")
    if sum(runs) != size[0] * size[1]:
        raise ValueError(
            f"its run lengths add up to {sum(runs)} pixels, but {size[1]}×{size[0]} px are {size[0] * size[1]}"
        )


def _unpacked(counts: str) -> list[int]:
    """Return the runs of a compressed string. Each character, counted from "0", holds 5 bits; the sixth bit means that more
    follow, and the highest bit of the last five is the sign. From the fourth run on, a value is the difference to the run
    before the last."""
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise ValueError(f"its compressed run lengths contain the invalid character {character!r}")
        if shift > _MOST_BITS:
            raise ValueError("its compressed run lengths contain a number that does not end")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("its compressed run lengths are truncated")
    return runs
