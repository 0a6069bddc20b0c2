"""A line with many small images, made without ingest: what is measured is what comes after."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from models.dataset import annotation_table
from models.vocabulary import Label, Split
from pipelines.initialise import init
from pipelines.workspace import Workspace

SIDE_PX = 32


def line_of(root: Path, n: int) -> Workspace:
    """A fresh workspace with `n` images in `data/`."""
    workspace = init(root, "bench")
    add(workspace, 0, n)
    return workspace


def add(workspace: Workspace, first: int, n: int) -> None:
    """Write images `first` to `first + n` and their annotations; each number is another image."""
    rows = [_row(workspace, number) for number in range(first, first + n)]
    there = annotation_table.load(workspace.annotations).to_pylist()
    annotation_table.save(annotation_table.from_rows(there + rows), workspace.annotations)


def _row(workspace: Workspace, number: int) -> dict:
    pixels = np.random.default_rng(number).integers(0, 256, (SIDE_PX, SIDE_PX), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, format="PNG")
    sha = hashlib.sha256(sink.getvalue()).hexdigest()
    file = f"images/{sha[:2]}/{sha}.png"
    path = workspace.data / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sink.getvalue())
    defective = number % 3 == 0
    return {
        "image": sha,
        "file": file,
        "line": "bench",
        "part": f"part{number:06d}",
        "slice": "default",
        "split": list(Split)[number % len(Split)].value,
        "label": (Label.DEFECT if defective else Label.GOOD).value,
        "defect_types": ["scratch"] if defective else [],
        "labelled_by": "benchmark",
        "source": "benchmark",
        "source_path": f"part{number:06d}.png",
        "synthetic": False,
        "width_px": SIDE_PX,
        "height_px": SIDE_PX,
        "channels": 1,
        "bit_depth": 8,
        "format": "PNG",
        "size_bytes": len(sink.getvalue()),
    }
