"""Previews which images of a delivery would be grouped as one part. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import compute

from models.dataset import annotation_table
from models.images import codec, same_photograph
from pipelines.image_files import fingerprints
from pipelines.ingest import parts
from pipelines.ingest.deliveries import Delivery, Source, Track, untracked
from pipelines.ingest.describe import described
from pipelines.workspace import Workspace

EXAMPLES = 3  # number of groups shown, and of names per group


@dataclass(frozen=True)
class Preview:
    """`groups` counts parts formed from near duplicates; `examples` names new images of the largest ones."""

    joined: int
    groups: int
    largest: int
    alike: int
    examples: tuple[tuple[str, ...], ...]


def preview(workspace: Workspace, source: Source, *, track: Track = untracked) -> Preview:
    """Return how ingest would group the images of this delivery, by the same rule."""
    table = annotation_table.load(workspace.annotations)
    photographs = table.filter(compute.and_(compute.is_null(table["decode_error"]), compute.invert(table["synthetic"])))
    seen_before = set(table["image"].to_pylist())
    rows, alone, prints, deliveries = [], [], [], []
    items = track(described(source, workspace.params().line), len(source.deliveries))
    for delivery, item in zip(source.deliveries, items, strict=True):
        if item.fingerprint is None or item.row["image"] in seen_before:
            continue
        seen_before.add(item.row["image"])
        rows.append(item.row)
        alone.append(item.alone)
        prints.append(item.fingerprint)
        deliveries.append(delivery)
    if not any(alone):
        return Preview(0, 0, 0, 0, ())
    before = fingerprints.of(workspace, photographs.select(["image", "file"]).to_pylist())
    new = annotation_table.from_rows(rows)
    grouped = parts.grouped(
        new, alone, np.stack(prints), photographs, before, _tones(workspace, photographs, deliveries)
    )
    renamed = {part for part, row in zip(grouped.parts, rows, strict=True) if part != row["part"]}
    names: dict[str, list[str]] = {part: [] for part in renamed}
    for part, row in zip(grouped.parts, rows, strict=True):
        if part in names:
            names[part].append(row["source_path"])
    largest_first = sorted(names.values(), key=lambda members: (-len(members), members))
    examples = tuple(tuple(members[:EXAMPLES]) for members in largest_first[:EXAMPLES])
    return Preview(grouped.joined, len(renamed), grouped.largest, grouped.alike, examples)


def _tones(workspace: Workspace, photographs: pa.Table, deliveries: Sequence[Delivery]) -> parts.Tones:
    kept = fingerprints.tones(workspace, photographs["file"].to_pylist())

    def read(places: Sequence[int]) -> np.ndarray:
        settled = [place for place in places if place < len(photographs)]
        new = [place - len(photographs) for place in places if place >= len(photographs)]  # places rise
        arriving = [same_photograph.tones(codec.decode(deliveries[place].read())) for place in new]
        side = same_photograph.SIDE
        return np.concatenate([kept(settled), np.stack(arriving) if new else np.zeros((0, side, side), np.float32)])

    return read
