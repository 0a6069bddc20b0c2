"""Two annotation tables that set out from one, as one table. Pure; the same whichever side asks for it.

A part's split never moves towards the test split: what had a say in making a detector must not judge it. So where two
sides, or a snapshot and the present, say different splits for a part, the one nearest to training counts.
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
_PER_SPLIT = 1_000_000  # more than there will be snapshots of a line


@dataclass(frozen=True)
class Moved:
    """A part whose split is another one than in `mine`."""

    part: str
    before: str
    after: str


@dataclass(frozen=True)
class Joined:
    table: pa.Table
    added: int  # images that `mine` did not have
    moved: tuple[Moved, ...]
    both_changed: tuple[str, ...]  # images, by delivery path, that say different things on both sides since they parted


@dataclass(frozen=True)
class Use:
    """The use nearest to training that a snapshot made of a part."""

    split: str
    snapshot: int  # the first one that made it


class Earlier:
    """Which split earlier snapshots had each image and each part in: what was learned from stays known by both names."""

    def __init__(self, tables: Iterable[tuple[int, pa.Table]] = ()) -> None:
        """`tables` are snapshots' numbers and annotations: columns image, part and split."""
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
    """`mine` and `theirs`, which both set out from `common`, as one table.

    An image is there when one side added it or neither removed it. What one side said anew about an image counts; where
    both did, the later label does. Parts that share an image on one side have one split on both.
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
        rows.append(dict(_said(a, b, before)))
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
    """Rows whose split is farther from training than an earlier snapshot's use of their image or part."""
    for row in table.select(["image", "part", "split", "source", "source_path"]).to_pylist():
        use = earlier.of(row["image"], row["part"])
        if (
            use is not None
            and row["split"] is not None
            and nearest_to_training([row["split"], use.split]) != row["split"]
        ):
            yield row, use


class _Parts:
    """Names of parts that are one part, since one image goes by both (union-find)."""

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
    """All that is said about an image but its split, which its part decides."""
    return json.dumps({name: value for name, value in row.items() if name != "split"}, sort_keys=True)


def _said(a: Row, b: Row, before: Row | None) -> Row:
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
