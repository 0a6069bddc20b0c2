"""Adds a delivery to `data/`: the original bytes under their hash, one row per image, a split for every part.

Ingesting the same delivery again adds nothing. A killed ingest is completed by running it again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from models.dataset import annotation_table
from models.files import remove_partial, write_whole
from models.images import near_duplicates
from models.params import SplitShares
from pipelines import part_names
from pipelines.image_files import file_hashes, fingerprints, quarantine
from pipelines.image_files.quarantine import Quarantined
from pipelines.ingest import corrections, formats, parts
from pipelines.ingest.deliveries import Source, Track, untracked
from pipelines.ingest.describe import Described, described
from pipelines.ingest.formats import Format
from pipelines.locks import line_lock
from pipelines.workspace import Workspace

HELD = ("part", "split", *corrections.LABEL, *corrections.SHAPES, *corrections.SIGNATURE, "accepted_by", "decode_error")
BLOCK = 1024  # rows that are kept as dicts before they become columns, which take a tenth of the memory


@dataclass(frozen=True)
class IngestReport:
    source: str
    added: int
    already_present: int
    quarantined: tuple[Quarantined, ...]
    relabelled: int = 0  # present images with a new label
    redrawn: int = 0  # present images with new or changed masks or boxes
    parted: int = 0  # present images whose part was stated for the first time
    outdated: tuple[str, ...] = ()  # present images that keep a newer label, mask or boxes
    unparted: tuple[str, ...] = ()  # present images that keep another part than the delivery states
    grouped: int = 0  # images without a stated part that share a part with near duplicates
    largest_group: int = 0  # number of images of the largest such part
    alike: int = 0  # images that resemble too many others to tell near duplicates apart: each is its own part


def ingest(
    workspace: Workspace,
    source: str,
    *,
    slice: str | None = None,
    format: Format = Format.AUTO,
    part_from: str | None = None,
    track: Track = untracked,
) -> IngestReport:
    """Ingest a delivery of any format in `pipelines.ingest.formats`. `part_from` overrides the line's pattern."""
    rules = workspace.params().ingest
    named = part_names.pattern(part_from, rules.part_from)
    _, opened = formats.read(source, rules.split, format=format, slice=slice, parts=named)
    return take_in(workspace, opened, track=track)


def take_in(workspace: Workspace, source: Source, *, track: Track = untracked, again: bool = False) -> IngestReport:
    """Add the new images of an opened source, and take over corrections of present ones.

    Corrections follow `pipelines.ingest.corrections`. Bytes that are present under another name are quarantined as
    duplicates. Unreadable images get a row, so that the data contract reports them. Images in quarantine are skipped unless
    `again` is set.
    """
    params = workspace.params()
    with line_lock(workspace, params.line, wait_s=600.0):
        table = annotation_table.load(workspace.annotations)
        path_of = dict(zip(table["image"].to_pylist(), _paths(table), strict=True))
        held = _Held(table)
        remove_partial(workspace.data)
        quarantine.tidy(workspace)
        refused_before = {(entry.path, entry.image): entry for entry in quarantine.entries(workspace)}
        overtaken: list[Quarantined] = []
        refused: list[Quarantined] = []
        corrected: dict[str, corrections.Correction] = {}
        stated: dict[str, str] = {}  # present image to the part that the delivery states
        already = 0
        with _Arrivals(workspace) as arrivals:
            for item in track(described(source, params.line), len(source.deliveries)):
                row = item.row
                path = f"{row['source']}/{row['source_path']}"
                before = refused_before.get((path, row["image"]))  # the same name with other bytes is another image
                if before is not None and not again and _same_statement(before.row, item):
                    already += 1
                    continue
                if before is not None:
                    overtaken.append(before)  # delivered again with a changed label, mask or boxes
                if item.problem is not None:
                    refused.append(quarantine.put(workspace, row | {"problem": item.problem}, item.problem, item.data))
                elif path_of.get(row["image"]) == path:
                    error = row.get("decode_error") or ""
                    if error.startswith(corrections.MASK_ERROR) and not held.broken(row["image"]):
                        refused.append(quarantine.put(workspace, row, error, item.data))
                        continue
                    if row["part"] != part_names.unstated(row["image"]):
                        stated[row["image"]] = row["part"]
                    if correction := corrections.of(held.row(row["image"]), row):
                        corrected[row["image"]] = correction
                        arrivals.keep(item)
                    else:
                        already += 1
                        arrivals.keep(item)  # restores the file if it was lost or altered
                elif row["image"] in path_of:
                    reason = f"duplicate: the same bytes as {path_of[row['image']]}"
                    refused.append(quarantine.put(workspace, row, reason, item.data))
                else:
                    path_of[row["image"]] = path
                    arrivals.add(item)
            new, alone, prints = arrivals.collected()
        renamed = {}
        if stated:
            renamed = corrections.parts(stated, table.select(["image", "part", "split", "source_path"]).to_pylist())
        table = _corrected(table, corrected, renamed)
        grouping = parts.Grouped([], joined=0, largest=0, alike=0)
        if len(new):
            grouping = _grouped(workspace, new, alone, prints, table)
            new = _with(new, "part", grouping.parts)
        after = _split(table, new, params.ingest.split)
        changed = after is not None or corrected or renamed
        if changed or arrivals.written:
            os.sync()  # once for all images, before the table refers to them
            arrivals.memory.remember(arrivals.written)
        if changed:
            annotation_table.save(table if after is None else after, workspace.annotations)
        refused_again = {(entry.path, entry.image) for entry in refused}
        for entry in overtaken:
            if (entry.path, entry.image) not in refused_again:
                quarantine.drop(workspace, entry)
    return IngestReport(
        source=source.name,
        added=len(new),
        already_present=already,
        quarantined=tuple(refused),
        relabelled=sum(one.relabelled for one in corrected.values()),
        redrawn=sum(one.redrawn for one in corrected.values()),
        parted=len(renamed),
        outdated=tuple(path_of[image] for image, one in corrected.items() if one.outdated),
        unparted=tuple(
            path_of[image] for image, part in stated.items() if image not in renamed and part != held.row(image)["part"]
        ),
        grouped=grouping.joined,
        largest_group=grouping.largest,
        alike=grouping.alike,
    )


class _Held:
    """The rows of present images, converted one at a time: all rows as dicts would take ten times the memory."""

    def __init__(self, table: pa.Table) -> None:
        self.columns = table.select(HELD).combine_chunks()
        self.number = {image: number for number, image in enumerate(table["image"].to_pylist())}

    def row(self, image: str) -> dict[str, Any]:
        row: dict[str, Any] = self.columns.slice(self.number[image], 1).to_pylist()[0]
        return row

    def broken(self, image: str) -> bool:
        return self.row(image)["decode_error"] is not None


@dataclass
class _Arrivals:
    """Rows, files and fingerprints of new images. Files are written in the background; rows become columns in blocks."""

    workspace: Workspace
    tables: list[pa.Table] = field(default_factory=list)
    alone: list[bool] = field(default_factory=list)
    prints: list[np.ndarray] = field(default_factory=list)
    items: list[tuple[dict[str, Any], np.ndarray | None]] = field(default_factory=list)

    def __enter__(self) -> _Arrivals:
        self.kept = fingerprints.opened(self.workspace)
        self.pool = ThreadPoolExecutor(max_workers=2)
        self.writes: list[Any] = []
        self.written: list[str] = []
        self.memory = file_hashes.Memory(self.workspace)
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def add(self, item: Described) -> None:
        self.keep(item)
        self.items.append((item.row, item.fingerprint))
        self.alone.append(item.alone)
        if len(self.items) == BLOCK:
            self._close_block()

    def keep(self, item: Described) -> None:
        """Write only the files of an image whose row exists already."""
        for name, content in ((item.row["file"], item.data), (item.row.get("mask"), item.mask)):
            if name is not None and content is not None:
                self.writes.append(self.pool.submit(self._write, name, content))

    def _write(self, name: str, content: bytes) -> None:
        if not self.memory.is_intact(name):
            write_whole(self.workspace.data / name, content, durable=False)
            self.written.append(name)

    def collected(self) -> tuple[pa.Table, list[bool], np.ndarray]:
        """Return all rows, which of them have no stated part, and fingerprints int8 [n, 32, 32] (zeros if there is none)."""
        self._close_block()
        side = near_duplicates.SIDE
        prints = np.concatenate([np.zeros((0, side, side), np.int8), *self.prints])
        self.prints.clear()
        return pa.concat_tables([annotation_table.empty(), *self.tables]), self.alone, prints

    def _close_block(self) -> None:
        for write in self.writes:
            write.result()
        readable = [(row["image"], print_) for row, print_ in self.items if print_ is not None]
        if readable:
            self.kept.keep([image for image, _ in readable], np.stack([print_ for _, print_ in readable]))
        if self.items:
            side = near_duplicates.SIDE
            nothing = np.zeros((side, side), np.int8)
            self.tables.append(annotation_table.from_rows([row for row, _ in self.items]))
            self.prints.append(np.stack([nothing if print_ is None else print_ for _, print_ in self.items]))
        self.writes, self.items = [], []


def _grouped(
    workspace: Workspace, new: pa.Table, alone: list[bool], prints: np.ndarray, table: pa.Table
) -> parts.Grouped:
    if not any(alone):
        return parts.Grouped(new["part"].to_pylist(), joined=0, largest=0, alike=0)
    # Synthetic images are left out: they resemble their photograph, and new images must join the photograph's part.
    readable = table.filter(compute.and_(compute.is_null(table["decode_error"]), compute.invert(table["synthetic"])))
    settled_prints = fingerprints.of(workspace, readable.select(["image", "file"]).to_pylist())
    tones = fingerprints.tones(workspace, [*readable["file"].to_pylist(), *new["file"].to_pylist()])
    return parts.grouped(new, alone, prints, readable, settled_prints, tones)


def _with(table: pa.Table, name: str, values: list) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), pa.array(values, pa.string()))


def _corrected(
    table: pa.Table, corrected: Mapping[str, corrections.Correction], renamed: Mapping[str, str]
) -> pa.Table:
    """Return the table with the corrected rows."""
    changes: dict[str, dict[str, Any]] = {image: dict(one.columns) for image, one in corrected.items()}
    for image, part in renamed.items():
        changes.setdefault(image, {})["part"] = part
    if not changes:
        return table
    hit = compute.is_in(table["image"], pa.array(list(changes)))
    rows = [row | changes[row["image"]] for row in table.filter(hit).to_pylist()]
    return pa.concat_tables([table.filter(compute.invert(hit)), annotation_table.from_rows(rows)])


def _split(table: pa.Table, new: pa.Table, shares: SplitShares) -> pa.Table | None:
    """Assign splits to new rows and to rows that were labelled later. Returns all rows, or None if nothing changed."""
    waits = compute.is_null(table["split"])
    entering = pa.concat_tables([new, table.filter(waits)])
    if not len(entering):
        return None
    settled = table.filter(compute.invert(waits))
    assigned = parts.split(entering, settled, shares)
    if not len(new) and not any(assigned):
        return None
    return pa.concat_tables([settled, _with(entering, "split", assigned)])


def _same_statement(before: dict[str, Any], item: Described) -> bool:
    """Return whether the delivery states the same about the image as when it was quarantined."""
    if before.get("problem") != item.problem:
        return False
    if corrections.MASK_ERROR in (before.get("decode_error") or ""):
        return False  # the row does not show whether the mask has changed
    columns = {"image", "part", "slice", "label", "defect_types", "mask", "boxes", "labelled_by"} - (
        {"part"} if item.alone else set()
    )
    return all(before.get(name) == item.row.get(name) for name in columns)


def _paths(table: pa.Table) -> list[str]:
    names = zip(table["source"].to_pylist(), table["source_path"].to_pylist(), strict=True)
    return [f"{source}/{path}" for source, path in names]
