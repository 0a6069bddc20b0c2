"""A page of ten training images with their augmentations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.dataset import annotation_table
from models.errors import NotReady
from models.files import write_whole
from models.images import codec
from models.images.augmentation import PLAIN, augmented, views
from models.vocabulary import Split
from pipelines.pages import page
from pipelines.pages.page import Header
from pipelines.pages.pictures import data_uri
from pipelines.workspace import Workspace

SHOWN = 10


def write(workspace: Workspace, out: Path) -> Path:
    """Write a page with ten training images, spread over the split, each in every view. Returns `out`. Raises NotReady if
    there are none."""
    table = annotation_table.load(workspace.annotations)
    rows = [row for row in table.to_pylist() if row["split"] == Split.TRAIN and not row["decode_error"]]
    if not rows:
        raise NotReady("The training split contains no images.", next_step="defectloop ingest FOLDER")
    params = workspace.params()
    angles = views(params.train)
    if PLAIN not in angles:
        angles.insert(0, PLAIN)  # for comparison, even if training does not use it
    shown = [rows[int(place)] for place in np.linspace(0, len(rows) - 1, min(SHOWN, len(rows)))]
    tiles = []
    for row in shown:
        image = codec.read(workspace.data / row["file"])
        pictures = [data_uri(augmented(image, view, row["image"])) for view in angles]
        tiles.append({"name": f"{row['source']}/{row['source_path']}: {row['label']}", "pictures": pictures})
    html = page.render(
        "pipelines.pages",
        "pictures.html",
        Header(params.line, "Augmented training images"),
        note="Each image without augmentation, and in every view from train.flips and train.augment in params.yaml.",
        rows=tiles,
    )
    write_whole(out, html.encode())
    return out
