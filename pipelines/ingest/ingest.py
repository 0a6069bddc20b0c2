"""Take a delivery into `data/`: original bytes under their hash, one row each, every part with its split.

A second ingest adds nothing; a killed one is finished by running it again.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from models import annotation_table, descriptors, images
from models.errors import BadData, UnreadableImage
from models.files import write_whole
from models.vocabulary import Split
from pipelines import quarantine
from pipelines.ingest import formats
from pipelines.ingest.deliveries import Delivery, Source, Track, untracked
from pipelines.ingest.formats import Format
from pipelines.ingest.splits import assign
from pipelines.locks import line_lock
from pipelines.quarantine import Quarantined
from pipelines.workspace import Workspace

SUFFIXES = {"PNG": "png", "JPEG": "jpg", "TIFF": "tif", "BMP": "bmp", "WEBP": "webp"}  # whatever the sender's name says
MASK_THRESHOLD = 127  # of 255: masks that were saved as JPEG, or drawn soft, are grey at the edges
Described = tuple[dict[str, Any], bytes, bytes | None]  # row, image, mask
LABEL = ("label", "defect_types", "defect_probability", "labelled_by", "labelled_at")
AHEAD = 64  # deliveries read and decoded ahead of the one being written down


@dataclass(frozen=True)
class IngestReport:
    source: str
    added: int
    already_present: int
    quarantined: tuple[Quarantined, ...]
    relabelled: int = 0  # there already, and the same sender now says something else about them


def ingest(
    workspace: Workspace,
    source: str,
    *,
    slice: str | None = None,
    format: Format = Format.AUTO,
    part_from: str | None = None,
    track: Track = untracked,
) -> IngestReport:
    """Ingest a delivery of any known format (`pipelines.ingest.formats`)."""
    shares = workspace.params().ingest.split
    _, opened = formats.read(source, shares, format=format, slice=slice, part_from=part_from)
    return take_in(workspace, opened, track=track)


def take_in(workspace: Workspace, source: Source, *, track: Track = untracked, again: bool = False) -> IngestReport:
    """Add what is new of an opened source.

    Bytes that are there under another name are quarantined as duplicates; bytes that are no image keep their row, so
    that the data contract finds and names them. What was refused before is passed over, unless `again`.
    """
    params = workspace.params()
    with line_lock(workspace, params.line, wait_s=600.0):
        table = annotation_table.load(workspace.annotations)
        known = dict(zip(table["image"].to_pylist(), _paths(table), strict=True))
        refused_before = {entry.path: entry for entry in quarantine.entries(workspace)}
        corrected: list[Quarantined] = []
        rows: list[dict[str, Any]] = []
        refused: list[Quarantined] = []
        there = {row["image"]: row for row in table.to_pylist()}
        already = relabelled = 0
        for row, data, mask in track(_described(source, params.line), len(source.deliveries)):
            path = f"{row['source']}/{row['source_path']}"
            before = refused_before.get(path)
            if before is not None and not again and _same_statement(before.row, row):
                already += 1
                continue
            if before is not None:
                corrected.append(before)  # delivered again with other bytes or another label
            if known.get(row["image"]) == path:
                if row["image"] in there and _corrects(there[row["image"]], row):
                    there[row["image"]] |= {name: row[name] for name in LABEL}
                    relabelled += 1
                else:
                    already += 1
            elif row["image"] in known:
                reason = f"duplicate: the same bytes as {known[row['image']]}"
                refused.append(quarantine.put(workspace, row, reason, data))
            else:
                if mask is not None:
                    _keep(workspace.data / row["mask"], mask)
                _keep(workspace.data / row["file"], data)
                known[row["image"]] = path
                rows.append(row)
        _decide_splits(rows, table, params.ingest.split)
        if rows or relabelled:
            annotation_table.save(annotation_table.from_rows([*there.values(), *rows]), workspace.annotations)
        refused_again = {entry.path for entry in refused}
        for entry in corrected:
            if entry.path not in refused_again:
                quarantine.drop(workspace, entry)
    return IngestReport(source.name, len(rows), already, tuple(refused), relabelled)


def _same_statement(before: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether the sender says the same about the same bytes as when they were refused."""
    if "its mask" in (before.get("decode_error") or ""):
        return False  # whether the mask is another one now can't be told from the row
    told = ("image", "part", "slice", "label", "defect_types", "boxes", "labelled_by")
    return all(before.get(name) == row.get(name) for name in told)


def _corrects(before: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether the sender changed its mind about the label; silence is no change."""
    said = (row["label"], list(row["defect_types"]))
    return row["label"] is not None and said != (before["label"], list(before["defect_types"] or ()))


def _paths(table: pa.Table) -> list[str]:
    names = zip(table["source"].to_pylist(), table["source_path"].to_pylist(), strict=True)
    return [f"{source}/{path}" for source, path in names]


def _described(source: Source, line: str) -> Iterator[Described]:
    """Read and decode on both cores (Pillow lets go of the interpreter lock), a bounded number ahead."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for start in range(0, len(source.deliveries), AHEAD):
            block = source.deliveries[start : start + AHEAD]
            yield from pool.map(lambda delivery: _describe(delivery, source.name, line), block)


def _describe(delivery: Delivery, source: str, line: str) -> Described:
    data = delivery.read()
    sha = hashlib.sha256(data).hexdigest()
    row: dict[str, Any] = {
        "image": sha,
        "file": f"images/{sha[:2]}/{sha}.bin",
        "line": line,
        "part": delivery.part or Path(delivery.name).with_suffix("").as_posix(),
        "slice": delivery.slice,
        "split": delivery.split,
        "label": delivery.label,
        "defect_types": list(delivery.defect_types),
        "defect_probability": delivery.defect_probability,
        "labelled_by": delivery.labelled_by,
        "labelled_at": delivery.labelled_at,
        "source": source,
        "source_path": delivery.name,
        "licence": delivery.licence,
        "synthetic": delivery.synthetic,
        "size_bytes": len(data),
    }
    try:
        pixels, facts = images.decode_with_facts(data)
    except UnreadableImage as error:
        row["decode_error"] = error.message
        return row, data, None
    row |= vars(facts) | descriptors.describe(pixels) | {"file": f"images/{sha[:2]}/{sha}.{SUFFIXES[facts.format]}"}
    if delivery.boxes is not None:
        row["boxes"] = [vars(box) for box in delivery.boxes]
    if delivery.mask is None:
        return row, data, None
    try:
        mask = _binary(delivery.mask(), facts)
    except UnreadableImage as error:
        row["decode_error"] = f"its mask: {error.message}"
        return row, data, None
    named = hashlib.sha256(mask).hexdigest()
    row["mask"] = f"masks/{named[:2]}/{named}.png"
    return row, data, mask


def _binary(data: bytes, facts: images.ImageFacts) -> bytes:
    """The mask as PNG of 0 and 255. Raises UnreadableImage for one that does not fit its image."""
    decoded = images.decode(data)
    if decoded.shape[:2] != (facts.height_px, facts.width_px):
        raise UnreadableImage(
            f"it has {decoded.shape[1]}×{decoded.shape[0]} px, the image {facts.width_px}×{facts.height_px}."
        )
    bright = images.to_rgb8(decoded).max(axis=2) > MASK_THRESHOLD
    return images.encode_png(bright.astype(np.uint8) * 255)


def _decide_splits(rows: list[dict[str, Any]], table: pa.Table, shares: Any) -> None:
    """Give every row without an official split the one of its part; unlabelled parts wait for their label."""
    split_of: dict[str, str] = {}
    existing: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    columns = (table[name].to_pylist() for name in ("part", "split", "slice", "label"))
    for part, split, slice, label in zip(*columns, strict=True):
        if split and label and part not in split_of:
            split_of[part] = split
            existing[(slice, label)][split] += 1
    for row in rows:
        if row["split"] is not None and row["split"] not in set(Split):
            raise BadData(
                f"{row['source_path']}: there is no split {row['split']!r}.", next_step=f"Splits: {', '.join(Split)}."
            )
        if row["split"] and row["part"] not in split_of:
            split_of[row["part"]] = row["split"]
            existing[(row["slice"], row["label"])][row["split"]] += 1
    new = ((row["part"], (row["slice"], row["label"])) for row in rows if row["label"] and row["part"] not in split_of)
    split_of |= assign(new, shares, existing)
    for row in rows:
        row["split"] = split_of.get(row["part"])  # a part that is known keeps its split, whatever the delivery says


def _keep(path: Path, data: bytes) -> None:
    if not path.exists() or path.stat().st_size != len(data):
        write_whole(path, data)
