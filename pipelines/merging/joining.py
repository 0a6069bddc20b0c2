"""Three-way merge of annotation tables. Pure; the result is the same from both sides.

A part never moves towards the test split, because data that was used for training must not be used for testing. If two
sides, or an earlier snapshot, have different splits for a part, the one nearest to training is used.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import compute

from models.dataset import annotation_table
from models.vocabulary import Split
from pipelines.ingest.splits import nearest_to_training

Row = dict[str, Any]
_SPLITS = [split.value for split in Split]
_PER_SPLIT = 1_000_000  # more than the number of snapshots of a line


@dataclass(frozen=True)
class Moved:
    """A part whose split differs from that in `mine`."""

    part: str
    before: str
    after: str


@dataclass(frozen=True)
class Joined:
    table: pa.Table
    added: int  # images that `mine` did not have
    moved: tuple[Moved, ...]
    both_changed: tuple[str, ...]  # delivery paths of images that both sides changed differently


@dataclass(frozen=True)
class Use:
    """The split nearest to training in which any snapshot had a part."""

    split: str
    snapshot: int  # the first snapshot with that split


class Earlier:
    """The splits of images and parts in earlier snapshots. Both are looked up, because a part may have been renamed."""

    def __init__(self, tables: Iterable[tuple[int, pa.Table]] = ()) -> None:
        """`tables` are numbers of snapshots with their annotations: columns image, part and split."""
        known_uses = pa.table(
            {"image": pa.array([], pa.string()), "part": pa.array([], pa.string()), "use": pa.array([], pa.int64())}
        )
        for number, table in tables:
            rank = compute.cast(compute.index_in(table["split"], pa.array(_SPLITS)), pa.int64())
            use = compute.add(compute.multiply(rank, _PER_SPLIT), number)
            both = pa.concat_tables(
                [known_uses, pa.table({"image": table["image"], "part": table["part"], "use": use})]
            )
            least = both.filter(both["use"].is_valid()).group_by(["image", "part"]).aggregate([("use", "min")])
            known_uses = least.rename_columns(["image", "part", "use"])
        columns = (known_uses[name].to_pylist() for name in ("image", "part", "use"))
        self._of_image: dict[str, int] = {}
        self._of_part: dict[str, int] = {}
        for image, part, use in zip(*columns, strict=True):
            self._of_image[image] = min(use, self._of_image.get(image, use))
            self._of_part[part] = min(use, self._of_part.get(part, use))

    def of(self, image: str, part: str) -> Use | None:
        uses = [use for use in (self._of_image.get(image), self._of_part.get(part)) if use is not None]
        return Use(_SPLITS[min(uses) // _PER_SPLIT], min(uses) % _PER_SPLIT) if uses else None


def join(mine: pa.Table, theirs: pa.Table, common: pa.Table, earlier: Earlier) -> Joined:
    """Merge `mine` and `theirs`, which both derive from `common`.

    An image is kept if one side added it or neither side removed it. If one side changed an annotation, that side is used;
    if both did, the newer label. Parts that share an image get the same split.
    """
    ours, other, base = (_by_image(table) for table in (mine, theirs, common))
    rows: list[Row] = []
    both_changed: list[str] = []
    for image in sorted(ours.keys() | other.keys()):
        a, b, before = ours.get(image), other.get(image), base.get(image)
        if a is None or b is None:
            if before is None:
                rows.append(dict(a or b or {}))
            continue
        rows.append(dict(_merged(a, b, before)))
        if before is not None and len({_content(row) for row in (a, b, before)}) == 3:
            both_changed.append(f"{a['source']}/{a['source_path']}")
    one = _Parts([ours, other])
    given: dict[str, set[str]] = defaultdict(set)
    for row in (*ours.values(), *other.values()):
        if row["split"] is not None:
            given[one.root(row["part"])].add(row["split"])
    for row in rows:
        use = earlier.of(row["image"], row["part"])
        if use is not None:
            given[one.root(row["part"])].add(use.split)
    for row in rows:
        splits = given.get(one.root(row["part"]))
        row["split"] = nearest_to_training(splits) if splits else None
    return Joined(
        annotation_table.from_rows(rows),
        added=sum(row["image"] not in ours for row in rows),
        moved=tuple(_moved(ours, rows)),
        both_changed=tuple(both_changed),
    )


def misused(table: pa.Table, earlier: Earlier) -> Iterator[tuple[Row, Use]]:
    """Yield rows whose split is farther from training than in an earlier snapshot, by image or part."""
    for row in table.select(["image", "part", "split", "source", "source_path"]).to_pylist():
        use = earlier.of(row["image"], row["part"])
        if (
            use is not None
            and row["split"] is not None
            and nearest_to_training([row["split"], use.split]) != row["split"]
        ):
            yield row, use


class _Parts:
    """Union-find of part names that denote the same part, because one image has both names."""

    def __init__(self, sides: Iterable[dict[str, Row]]) -> None:
        self._above: dict[str, str] = {}
        first: dict[str, str] = {}
        for side in sides:
            for image, row in side.items():
                a, b = self.root(first.setdefault(image, row["part"])), self.root(row["part"])
                self._above[max(a, b)] = min(a, b)

    def root(self, part: str) -> str:
        while (above := self._above.get(part, part)) != part:
            part = above
        return part


def _by_image(table: pa.Table) -> dict[str, Row]:
    return {row["image"]: row for row in table.to_pylist()}


def _content(row: Row) -> str:
    """Return an image's annotation without the split, which is decided by the part."""
    return json.dumps({name: value for name, value in row.items() if name != "split"}, sort_keys=True)


def _merged(a: Row, b: Row, before: Row | None) -> Row:
    if before is not None and _content(a) == _content(before):
        return b
    if before is not None and _content(b) == _content(before):
        return a
    return max(a, b, key=lambda row: (row["labelled_at"] or "", _content(row)))


def _moved(ours: dict[str, Row], rows: Iterable[Row]) -> Iterator[Moved]:
    reported: set[str] = set()
    for row in rows:
        before = ours[row["image"]]["split"] if row["image"] in ours else None
        if before is not None and before != row["split"] and row["part"] not in reported:
            reported.add(row["part"])
            yield Moved(row["part"], before, row["split"])
