"""The two samples of a drift check: one row per part, and a reference that matches the window's composition. Pure.

The reference holds the validation parts with their ground truth, but production has other shares of slices and of defective
parts. Rows of the reference are left out, evenly over their scores, until the shares match; the choice is deterministic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.metrics import class_mix
from pipelines.ledger import part_verdicts
from pipelines.ledger.tables import Inspection
from pipelines.monitoring.standardised import NOT_DESCRIPTORS

FEWEST = 20  # minimum number of reference rows


@dataclass(frozen=True)
class WindowPart:
    """A part of the window: its descriptors, the slice that the line reported, its name, and its most suspicious image."""

    slice: str | None
    descriptors: Mapping[str, float]
    name: str
    image: str


def parts_of(inspections: Sequence[Inspection]) -> list[WindowPart]:
    """Return one row per part in the order of first inspection, described by its most suspicious view."""
    views = [part.views[0] for part in part_verdicts.by_part(inspections)]
    return [WindowPart(view.slice, view.descriptors, view.part, view.image) for view in views]


def comparable(
    reference: Mapping[str, Sequence], reported: Sequence[str | None], rate: float | None
) -> dict[str, list[float]]:
    """Return the reference's descriptors, matched to the slices of the window's parts (`reported`, [n]) and to the line's
    defect rate.

    If a champion was accepted on two materials, a day with only one of them is no drift. A window with unknown slices, or
    without slices, is compared with the whole reference.
    """
    columns = {name: values for name, values in reference.items() if name not in NOT_DESCRIPTORS}
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
    if "defective" not in reference:  # a reference of an older version
        return rows
    truth, score = (np.array(reference[name])[rows] for name in ("defective", "score"))
    return rows[class_mix.chosen_for(truth, score, rate)]


def _in_the_mix(of_slice: Mapping[str | None, np.ndarray], counts: Counter, score: np.ndarray) -> list[np.ndarray]:
    """Choose rows of each slice in the window's proportions, or all rows if too few would be left."""
    share = min(len(rows) / counts[name] for name, rows in of_slice.items())
    wanted = {name: max(1, round(share * counts[name])) for name in of_slice}
    if sum(wanted.values()) < FEWEST:
        return list(of_slice.values())
    return [class_mix.spread(rows, score, wanted[name]) for name, rows in of_slice.items()]
