"""What the verdicts of a version cost in each slice. Pure."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from models.evaluation import evaluation
from models.metrics import costs
from models.params import Cost
from models.vocabulary import OperatingPoint


def by_slice(answers: pa.Table, point: OperatingPoint, cost: Cost, rate: float | None) -> dict[str, float]:
    """Return the average cost per part of each slice, at the line's defect rate if it is known."""
    slices = answers["slice"]
    return {
        str(name): costs.average(
            costs.of_parts(*evaluation.of_parts(answers.filter(pc.equal(slices, name))), point, cost), rate
        )
        for name in slices.unique().to_pylist()
    }
