"""The demo's data: solar cells as initial data, as production and as a damaged delivery, with their ground truth."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from PIL import Image

from pipelines.ingest import elpv
from pipelines.ingest.deliveries import Source
from pipelines.inspection.judging import Production
from pipelines.workspace import Workspace

REVIEWER = "elpv ground truth"


def cells(place: Workspace, slice: str, *splits: str) -> Source:
    """Return the cells of one material, restricted to `splits` if any are given."""
    return elpv.read(place.params().ingest.split, slices=(slice,), splits=splits or None)


def production(place: Workspace, slice: str, *splits: str) -> list[Production]:
    """Return the same cells as production: without labels, in the order of their numbers."""
    return [
        Production(read=cell.read, part=str(cell.part), request_id=f"demo/{slice}/{cell.part}", slice=slice)
        for cell in cells(place, slice, *splits).deliveries
    ]


def truth(place: Workspace) -> dict[str, str]:
    """Return the label of each cell by part, as the laboratory would answer."""
    source = elpv.read(place.params().ingest.split)
    return {str(cell.part): cell.label for cell in source.deliveries if cell.label is not None}


def damaged(place: Workspace) -> Path:
    """Write a delivery with a truncated file, a duplicate and an unlabelled image. Returns the path of its manifest."""
    folder = place.state / "deliveries" / "damaged"
    folder.mkdir(parents=True, exist_ok=True)
    first, second, third = (cell.read() for cell in cells(place, "mono").deliveries[:3])
    turned = io.BytesIO()
    Image.open(io.BytesIO(third)).rotate(180).save(turned, format="PNG")
    (folder / "cut-off.png").write_bytes(first[: len(first) // 2])
    (folder / "sent-twice.png").write_bytes(second)
    (folder / "unlabelled.png").write_bytes(turned.getvalue())
    manifest = folder / "damaged.csv"
    with manifest.open("w", newline="") as sink:
        writer = csv.writer(sink)
        writer.writerow(["path", "label", "slice"])
        writer.writerows(
            [["cut-off.png", "good", "mono"], ["sent-twice.png", "good", "mono"], ["unlabelled.png", "", "mono"]]
        )
    return manifest
