"""What is compared with what: one row per part, and a reference that looks as production should. Pure.

The reference holds the validation parts with their truth; production has other shares of defective parts and of slices.
Both are matched by leaving rows out, evenly over their scores, so that the same reference and window give the same choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.metrics import class_mix
from pipelines.ledger import part_verdicts
from pipelines.ledger.tables import Inspection

FEWEST = 20  # rows of a reference: fewer say too little
NO_DESCRIPTORS = ("part", "slice", "defective")  # a reference of before has the slice alone, or none of them


@dataclass(frozen=True)
class WindowPart:
    """A part of the window: what its images say about it, and the slice that the line reported."""

    slice: str | None
    descriptors: Mapping[str, float]


def parts_of(inspections: Sequence[Inspection]) -> list[WindowPart]:
    """One for each part, in the order in which they were first inspected: its most suspicious view describes it."""
    return [WindowPart(part.views[0].slice, part.views[0].descriptors) for part in part_verdicts.by_part(inspections)]


def comparable(
    reference: Mapping[str, Sequence], reported: Sequence[str | None], rate: float | None
) -> dict[str, list[float]]:
    """The reference's descriptors, for parts of the slices that the window's parts [n] report, in the window's mix, and
    with defective parts as common as the line's `rate` says.

    A champion of two materials was accepted on both; a day that runs one of them, or more of one, is no drift. A window
    with a slice that the reference does not know, or reports none, is held against all of it.
    """
    columns = {name: values for name, values in reference.items() if name not in NO_DESCRIPTORS}
    n = len(next(iter(columns.values())))
    slices, counts = np.array(reference.get("slice", [None] * n), dtype=object), Counter(reported)
    all_known = all(name is not None and (slices == name).any() for name in counts)
    if not counts or not all_known or sum(name in counts for name in slices) < FEWEST:
        chosen = _at_rate(reference, np.arange(n), rate)
    else:
        of_slice = {name: _at_rate(reference, np.flatnonzero(slices == name), rate) for name in counts}
        chosen = np.sort(np.concatenate(_in_the_mix(of_slice, counts, np.array(columns["score"]))))
    return {name: [values[number] for number in chosen] for name, values in columns.items()}


def _at_rate(reference: Mapping[str, Sequence], rows: np.ndarray, rate: float | None) -> np.ndarray:
    if "defective" not in reference:  # made before: nobody knows which rows are
        return rows
    truth, score = (np.array(reference[name])[rows] for name in ("defective", "score"))
    return rows[class_mix.chosen_for(truth, score, rate)]


def _in_the_mix(of_slice: Mapping[str | None, np.ndarray], counts: Counter, score: np.ndarray) -> list[np.ndarray]:
    """Fewer rows of slices that the window holds less of; all of them where too few would be left."""
    share = min(len(rows) / counts[name] for name, rows in of_slice.items())
    wanted = {name: max(1, round(share * counts[name])) for name in of_slice}
    if sum(wanted.values()) < FEWEST:
        return list(of_slice.values())
    return [class_mix.spread(rows, score, wanted[name]) for name, rows in of_slice.items()]
