"""The demo's material: solar cells as stock, as production, as a damaged delivery, and their ground truth."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from PIL import Image

from pipelines.ingest import elpv
from pipelines.ingest.deliveries import Source
from pipelines.inspection.predict import Production
from pipelines.workspace import Workspace

REVIEWER = "elpv ground truth"


def cells(place: Workspace, slice: str, *splits: str) -> Source:
    """The cells of one material, of these splits only where named."""
    return elpv.read(place.params().ingest.split, slices=(slice,), splits=splits or None)


def production(place: Workspace, slice: str, *splits: str) -> list[Production]:
    """The same cells as they come off the line: without a label, in the order of their numbers."""
    return [
        Production(read=cell.read, part=str(cell.part), request_id=f"demo/{slice}/{cell.part}", slice=slice)
        for cell in cells(place, slice, *splits).deliveries
    ]


def truth(place: Workspace) -> dict[str, str]:
    """What each cell is, by part: what the lab would answer."""
    source = elpv.read(place.params().ingest.split)
    return {str(cell.part): cell.label for cell in source.deliveries if cell.label is not None}


def damaged(place: Workspace) -> Path:
    """A delivery as it happens: a file cut off in transfer, one sent twice, one that nobody labelled; its manifest."""
    folder = place.state / "deliveries" / "damaged"
    folder.mkdir(parents=True, exist_ok=True)
    first, second, third = (cell.read() for cell in cells(place, "mono").deliveries[:3])
    turned = io.BytesIO()
    Image.open(io.BytesIO(third)).rotate(180).save(turned, format="PNG")
    (folder / "cut-off.png").write_bytes(first[: len(first) // 2])
    (folder / "sent-twice.png").write_bytes(second)
    (folder / "nobody-said.png").write_bytes(turned.getvalue())
    manifest = folder / "damaged.csv"
    with manifest.open("w", newline="") as sink:
        writer = csv.writer(sink)
        writer.writerow(["path", "label", "slice"])
        writer.writerows(
            [["cut-off.png", "good", "mono"], ["sent-twice.png", "good", "mono"], ["nobody-said.png", "", "mono"]]
        )
    return manifest
