"""The model card: what a version is, its measured performance, and its limits (Mitchell et al., 2019)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from models.detector.runtime import Detector
from models.evaluation.detail import Detail
from models.evaluation.evaluation import Evaluation
from models.evaluation.twins import Twins, in_words
from models.metrics.costs import Expected
from models.vocabulary import Split
from pipelines.line_defect_rate import percent
from pipelines.pages.markdown import inline
from pipelines.report.expected import expected_rows
from pipelines.report.page import COLUMNS, assumed, at_most, cell, share


def render(
    detector: Detector,
    result: Evaluation,
    expected: Sequence[Expected],
    beyond: Detail,
    calibration_error: float,
    robustness: Mapping[str, Mapping[str, float]],
    twins: Twins,
    counts: Sequence[tuple[str, str, int, int]],
) -> str:
    """Return the model card as Markdown. The same inputs give the same text. `counts` come from `counted`."""
    environment = Environment(
        loader=PackageLoader("pipelines.report", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["inline"] = inline
    return environment.get_template("card.md").render(
        meta=detector.metadata,
        sha256=detector.sha256,
        rows=[("all", result.overall), *result.slices.items()],
        columns=COLUMNS,
        cell=cell,
        at_most=at_most,
        share=share,
        mixes=[f"{percent(one.defect_rate)} defective" for one in expected],
        expected=expected_rows(expected),
        assumed=assumed(detector.metadata),
        beyond=beyond,
        calibration_error=calibration_error,
        robustness=robustness,
        twins=in_words(twins),
        counts=counts,
    )


def counted(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int, int]]:
    """Return (split, label, images, parts) of the snapshot. Synthetic images are counted as a label of their own."""
    named = [(row["split"], "synthetic" if row["synthetic"] else row["label"], row["part"]) for row in rows]
    images = Counter((split, label) for split, label, _ in named)
    parts = Counter((split, label) for split, label, _ in set(named))
    order = [split.value for split in Split]
    labelled = sorted((key for key in images if None not in key), key=lambda key: (order.index(key[0]), key[1]))
    return [(split, label, images[split, label], parts[split, label]) for split, label in labelled]
