"""A page of synthetic defects of each kind: the good image, the synthetic image, and the mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.dataset import annotation_table
from models.files import write_whole
from models.images import codec
from pipelines.pages import page
from pipelines.pages.page import Header
from pipelines.pages.pictures import data_uri, outlined
from pipelines.synthesis.synthesize import make, plan
from pipelines.workspace import Workspace

EACH = 4  # images of each kind


def write(workspace: Workspace, kinds: Sequence[str], seed: int, slice: str | None, out: Path) -> Path:
    """Write a page with the first images that `synthesize` would make with this seed. Adds nothing to `data/`."""
    table = annotation_table.load(workspace.annotations)
    rows = []
    for item in plan(table, kinds, EACH, seed, slice):
        made = make(workspace.data, item)
        if made is None:
            rows.append({"name": f"{item.name}: no place where the defect fits", "pictures": []})
            continue
        before = codec.read(workspace.data / made.good["file"])
        shown = [before, made.pixels, outlined(made.pixels, made.mask)]
        rows.append({"name": f"{item.name} {made.good['slice']}", "pictures": [data_uri(one) for one in shown]})
    html = page.render(
        "pipelines.pages",
        "pictures.html",
        Header(workspace.params().line, "Synthetic defects"),
        note="The good image, the synthetic image made from it, and the outline of its mask.",
        rows=rows,
    )
    write_whole(out, html.encode())
    return out
