"""The example dataset: 2,624 solar cells of the package `elpv-dataset`, as original PNG bytes.

A cell counts as defective if its labelled probability is above 0.5; the four-level probability is kept too. Deitsch et
al., Automatic classification of defective photovoltaic module cells in electroluminescence images, arXiv 1807.02894.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from models.errors import NotReady
from models.params import SplitShares
from models.vocabulary import Label
from pipelines.ingest.deliveries import Delivery, Source
from pipelines.ingest.splits import assign

SLICES = ("mono", "poly")
LABELLED_AT = "2018-07-08"  # first version of the paper; the package has no dates for single labels
LICENCE = "CC BY-NC-SA 4.0"


def read(shares: SplitShares, slices: Collection[str] = SLICES, splits: Collection[str] | None = None) -> Source:
    """Return the cells of these slices, restricted to `splits` if given. Raises NotReady if the package is missing.

    A slice is always split as a whole, so that its test split is the same in every delivery.
    """
    spec = find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise NotReady(
            "The images of the example are in the package elpv-dataset, which is not installed.",
            next_step=f"pip install 'defectloop[demo]' (their licence, {LICENCE}, excludes commercial use).",
        )
    folder = Path(spec.origin).parent / "data"
    name = f"elpv-dataset {metadata.version('elpv-dataset')}"
    rows = [row.split() for row in (folder / "labels.csv").read_text().splitlines()]
    cells = [(path, Path(path).stem, float(probability), kind) for path, probability, kind in rows if kind in slices]
    split_of = assign(((part, (kind, label(probability))) for _, part, probability, kind in cells), shares)
    deliveries = [
        Delivery(
            name=path,
            read=(folder / path).read_bytes,
            part=part,
            slice=kind,
            label=label(probability),
            split=split_of[part],
            defect_probability=probability,
            labelled_by=name,
            labelled_at=LABELLED_AT,
            licence=LICENCE,
        )
        for path, part, probability, kind in cells
    ]
    return Source(name, [item for item in deliveries if splits is None or item.split in splits])


def label(probability: float) -> str:
    return (Label.DEFECT if probability > 0.5 else Label.GOOD).value
