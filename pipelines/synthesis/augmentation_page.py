"""What training sees of ten of its images, as one page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from models.dataset import annotation_table
from models.errors import NotReady
from models.files import write_whole
from models.images import codec
from models.images.augmentation import PLAIN, augmented, views
from models.vocabulary import Split
from pipelines.pages.pictures import data_uri
from pipelines.workspace import Workspace

SHOWN = 10


def write(workspace: Workspace, out: Path) -> Path:
    """`out` with ten training images, spread over the split, each in every view. Raises NotReady without any."""
    table = annotation_table.load(workspace.annotations)
    rows = [row for row in table.to_pylist() if row["split"] == Split.TRAIN and not row["decode_error"]]
    if not rows:
        raise NotReady("There are no images in the training split.", next_step="defectloop ingest FOLDER")
    params = workspace.params()
    angles = views(params.train)
    if PLAIN not in angles:
        angles.insert(0, PLAIN)  # to compare with, also where training never sees it
    shown = [rows[int(place)] for place in np.linspace(0, len(rows) - 1, min(SHOWN, len(rows)))]
    tiles = []
    for row in shown:
        image = codec.read(workspace.data / row["file"])
        pictures = [data_uri(augmented(image, view, row["image"])) for view in angles]
        tiles.append({"name": f"{row['source']}/{row['source_path']}: {row['label']}", "pictures": pictures})
    template = Environment(loader=PackageLoader("pipelines", "pages"), autoescape=True, undefined=StrictUndefined)
    html = template.get_template("pictures.html").render(
        title=f"{params.line}: what training sees",
        note="Each image as it is, and in every view that train.flips and train.augment of params.yaml ask for.",
        rows=tiles,
    )
    write_whole(out, html.encode())
    return out
