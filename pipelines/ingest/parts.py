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
from pipelines.ingest.splits import Stratum, assign, nearest_to_training


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

    The shares hold among the parts that are shared out here. Parts that came with a split (an official one, one for
    training alone) and synthetic ones do not count: thousands of them in training would send every new part to the
    other splits. Parts without a label wait for it. Raises BadData for a split that does not exist.
    """
    _require_existing(new)
    settled = _split_by_part(known)
    stated = _split_by_part(new)
    split_of = stated | settled  # a part that is known keeps its split, whatever the delivery says
    strata = _strata(known, new)
    existing: dict[Stratum, Counter[str]] = defaultdict(Counter)
    for part in _shared_out(known):
        if part in strata and part in settled:
            existing[strata[part]][settled[part]] += 1
    waiting = ((part, strata[part]) for part in new["part"].unique().to_pylist() if part in strata)
    split_of |= assign(((part, stratum) for part, stratum in waiting if part not in split_of), shares, existing)
    return [split_of.get(part) for part in new["part"].to_pylist()]


def _require_existing(new: pa.Table) -> None:
    for name, path in zip(*_columns(new, "split", "source_path"), strict=True):
        if name is not None and name not in set(Split):
            raise BadData(f"{path}: there is no split {name!r}.", next_step=f"Splits: {', '.join(Split)}.")


def _split_by_part(table: pa.Table) -> dict[str, str]:
    """The split of every part that has one; where its images say different ones, the one nearest to training."""
    given: dict[str, set[str]] = defaultdict(set)
    for part, name in zip(*_columns(table, "part", "split"), strict=True):
        if name is not None:
            given[part].add(name)
    return {part: nearest_to_training(names) for part, names in given.items()}


def _strata(*tables: pa.Table) -> dict[str, Stratum]:
    """Slice and label of every labelled part; a part is defective where one of its images is."""
    slices: dict[str, set[str]] = defaultdict(set)
    labels: dict[str, set[str]] = defaultdict(set)
    for table in tables:
        for part, slice, label in zip(*_columns(table, "part", "slice", "label"), strict=True):
            if label:
                slices[part].add(slice)
                labels[part].add(label)
    return {part: (min(slices[part]), min(labels[part])) for part in labels}  # "defect" comes before "good"


def _shared_out(known: pa.Table) -> set[str]:
    """Parts whose split was decided here: one of their photographs came without one."""
    columns = _columns(known, "part", "split_stated", "synthetic")
    return {part for part, stated, synthetic in zip(*columns, strict=True) if not stated and not synthetic}


def _columns(table: pa.Table, *names: str) -> list[list]:
    return [table[name].to_pylist() for name in names]
