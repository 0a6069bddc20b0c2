"""Which part a new image shows, and which split that part belongs to. Both are decided once, when the image enters."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from models import near_duplicates
from models.errors import BadData
from models.params import SplitShares
from models.vocabulary import Split
from pipelines.ingest.splits import assign


def grouped(
    new: pa.Table, alone: Sequence[bool], prints: np.ndarray, known: pa.Table, known_prints: np.ndarray
) -> list[str]:
    """The part of every row of `new`: as stated, or that of its near duplicates where nobody stated one.

    Near duplicates of an image that is there already join its part; others share the part of the first of them.
    `alone` marks the rows without a stated part. Unreadable images have a fingerprint of zeros and stay alone.
    """
    parts = new["part"].to_pylist()
    free = np.flatnonzero(alone)
    if not len(free):
        return parts
    before = len(known_prints)
    everything = np.concatenate([known_prints, prints]) if before else prints
    found = near_duplicates.find(everything, new=(free + before).tolist())
    names = [*known["part"].to_pylist(), *parts]
    movable = {int(number) + before for number in free}
    settled: dict[int, str] = {}  # part of a group's root once one of its images has a part that is not to be changed
    for group in near_duplicates.groups(found):
        fixed = [number for number in group if number not in movable]
        name = names[fixed[0]] if fixed else names[group[0]]
        settled |= {number: name for number in group if number in movable}
    return [settled.get(number + before, part) for number, part in enumerate(parts)]


def split(new: pa.Table, known: pa.Table, shares: SplitShares) -> list[str | None]:
    """The split of every row of `new`: its part's where that has one, the stated one, or the one that keeps the shares.

    Parts without a label wait for it. Raises BadData for a split that does not exist.
    """
    split_of: dict[str, str] = {}
    existing: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for part, said, slice, label in zip(*_columns(known, "part", "split", "slice", "label"), strict=True):
        if said and label and part not in split_of:
            split_of[part] = said
            existing[(slice, label)][said] += 1
    rows = list(zip(*_columns(new, "part", "split", "slice", "label", "source_path"), strict=True))
    for part, said, slice, label, path in rows:
        if said is not None and said not in set(Split):
            raise BadData(f"{path}: there is no split {said!r}.", next_step=f"Splits: {', '.join(Split)}.")
        if said and part not in split_of:
            split_of[part] = said
            existing[(slice, label)][said] += 1
    waiting = ((part, (slice, label)) for part, _, slice, label, _ in rows if label and part not in split_of)
    split_of |= assign(waiting, shares, existing)
    return [split_of.get(row[0]) for row in rows]  # a part that is known keeps its split, whatever the delivery says


def _columns(table: pa.Table, *names: str) -> list[list]:
    return [table[name].to_pylist() for name in names]
