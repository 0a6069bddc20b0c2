"""Assigns a part to each new image, and a split to each new part. Both are decided once, at ingest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from models.errors import BadData
from models.images import near_duplicates, part_grouping
from models.images.part_grouping import Tones
from models.params import SplitShares
from models.vocabulary import Split
from pipelines.ingest.splits import Stratum, assign, nearest_to_training

ASKED_BESIDES = 300  # present images that are compared too, to estimate how similar different parts of this line are


@dataclass(frozen=True)
class Grouped:
    """The part of every new row. `alike` counts rows that resemble others of possibly different parts and stay alone."""

    parts: list[str]
    joined: int
    largest: int  # number of images in the largest group, or 0
    alike: int


def grouped(
    new: pa.Table,
    alone: Sequence[bool],
    prints: np.ndarray,
    settled_rows: pa.Table,
    settled_prints: np.ndarray,
    tones: Tones,
) -> Grouped:
    """Return the part of every row of `new`: the stated part, or else the part of its near duplicates.

    Near duplicates of a present image join its part; others share the part of the first of them. `alone` marks the rows
    without a stated part. Unreadable images have a fingerprint of zeros and are not grouped. `tones` returns the tones of
    images by index, where present images come before new ones.
    """
    parts = new["part"].to_pylist()
    before = len(settled_prints)
    movable = {int(number) + before for number in np.flatnonzero(alone)}
    if not movable:
        return Grouped(parts, joined=0, largest=0, alike=0)
    everything = np.concatenate([settled_prints, prints]) if before else prints
    names = [*settled_rows["part"].to_pylist(), *parts]
    # All images of a settled part form one node, so that a part cannot grow without limit by chains of near duplicates.
    settled = [number for number in range(len(names)) if number not in movable]
    counts = Counter(names[number] for number in settled)
    first: dict[str, int] = {}
    node = [number if number in movable else first.setdefault(name, number) for number, name in enumerate(names)]
    weights = {number: counts[name] for name, number in first.items()}
    besides = np.random.default_rng(0).permutation(settled)[:ASKED_BESIDES].tolist()
    asked = sorted({*movable, *besides})
    pairs = near_duplicates.find(everything, new=asked, least=near_duplicates.FAINT)
    grouping = part_grouping.group(
        pairs, len(names), tones, n_asked=len(asked), new=movable, part_of=node, weights=weights
    )
    named: dict[int, str] = {}
    for group in grouping.same:
        name = names[next((number for number in group if number not in movable), group[0])]
        named |= {number: name for number in group if number in movable}
    after = [named.get(number + before, part) for number, part in enumerate(parts)]
    return Grouped(
        after,
        joined=sum(a != b for a, b in zip(after, parts, strict=True)),
        largest=max((sum(weights.get(number, 1) for number in group) for group in grouping.same), default=0),
        alike=sum(number in movable for number in grouping.alike),
    )


def split(new: pa.Table, settled_rows: pa.Table, shares: SplitShares) -> list[str | None]:
    """Return the split of every row of `new`: the split of its part, or the stated split, or one assigned by the shares.

    The shares are kept among the parts that are assigned here. Parts that came with a split and synthetic images do not
    count: thousands of them in training would send every new part to the other splits. Parts get no split before they have
    a label. Raises BadData for an unknown split.
    """
    _require_existing(new)
    settled = _split_by_part(settled_rows)
    stated = _split_by_part(new)
    split_of = stated | settled  # a present part keeps its split, even if the delivery states another one
    strata = _strata(settled_rows, new)
    existing: dict[Stratum, Counter[str]] = defaultdict(Counter)
    for part in _shared_out(settled_rows):
        if part in strata and part in settled:
            existing[strata[part]][settled[part]] += 1
    waiting = ((part, strata[part]) for part in new["part"].unique().to_pylist() if part in strata)
    split_of |= assign(((part, stratum) for part, stratum in waiting if part not in split_of), shares, existing)
    return [split_of.get(part) for part in new["part"].to_pylist()]


def _require_existing(new: pa.Table) -> None:
    for name, path in zip(*_columns(new, "split", "source_path"), strict=True):
        if name is not None and name not in set(Split):
            raise BadData(f"{path}: unknown split {name!r}.", next_step=f"Splits: {', '.join(Split)}.")


def _split_by_part(table: pa.Table) -> dict[str, str]:
    """Return the split of every part that has one. If its images state different splits, the one nearest to training."""
    given: dict[str, set[str]] = defaultdict(set)
    for part, name in zip(*_columns(table, "part", "split"), strict=True):
        if name is not None:
            given[part].add(name)
    return {part: nearest_to_training(names) for part, names in given.items()}


def _strata(*tables: pa.Table) -> dict[str, Stratum]:
    """Return slice and label of every labelled part. A part is defective if one of its images is."""
    slices: dict[str, set[str]] = defaultdict(set)
    labels: dict[str, set[str]] = defaultdict(set)
    for table in tables:
        for part, slice, label in zip(*_columns(table, "part", "slice", "label"), strict=True):
            if label:
                slices[part].add(slice)
                labels[part].add(label)
    return {part: (min(slices[part]), min(labels[part])) for part in labels}  # "defect" comes before "good"


def _shared_out(rows: pa.Table) -> set[str]:
    """Return the parts whose split was assigned here: at least one of their photographs came without a split."""
    columns = _columns(rows, "part", "split_stated", "synthetic")
    return {part for part, stated, synthetic in zip(*columns, strict=True) if not stated and not synthetic}


def _columns(table: pa.Table, *names: str) -> list[list]:
    return [table[name].to_pylist() for name in names]
