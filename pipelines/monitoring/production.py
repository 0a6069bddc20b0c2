"""The parts that a version inspected, as a stream: one row per visit of a part, in the order of inspection.

Images of one part that follow each other closely are one visit, described by the most suspicious of them. A part that comes
back later is a visit of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from pipelines.ledger import inspections
from pipelines.ledger.ledger import Ledger

VISIT = 64  # visits that may lie between two images of the same one
MONTH, DAY = np.timedelta64(30, "D"), np.timedelta64(1, "D")


@dataclass(frozen=True)
class Production:
    """`rows` [n, d] are the descriptors `names`; `slices`, `ids` (of the inspections) and `times` (datetime64, UTC) have one
    entry per row. `last` is the id of the latest inspection, None without any."""

    names: tuple[str, ...]
    rows: np.ndarray
    slices: np.ndarray
    ids: np.ndarray
    times: np.ndarray
    last: int | None


def read(ledger: Ledger, line: str, artefact_sha256: str, names: Sequence[str]) -> Production:
    """Read all inspections by one model. Descriptors that some inspection lacks are left out."""
    values, ids, slices = [np.empty((0, len(names)), np.float32)], list[int](), list[str | None]()
    times = [np.empty(0, "datetime64[us]")]
    visits: list[int] = []  # of each image
    visit_of: dict[str, int] = {}
    begun = 0
    for block in inspections.descriptors_of(ledger, line, artefact_sha256):
        values.append(_table(block.descriptors, names))
        ids += block.ids
        slices += block.slices
        times.append(np.array(block.times, "datetime64[us]"))
        for part in block.parts:
            visit = visit_of.get(part)
            if visit is None or begun - visit > VISIT:
                visit = visit_of[part] = begun
                begun += 1
            visits.append(visit)
    table, of_image = np.concatenate(values), np.array(visits, dtype=np.int64)
    score = table[:, list(names).index("score")]
    worst = np.lexsort((-np.arange(len(score)), score, of_image))  # the first of the highest scores ends each visit
    worst = worst[np.flatnonzero(np.diff(of_image[worst], append=begun))]
    first = np.unique(of_image, return_index=True)[1]
    rows = table[worst]
    known = ~np.any(np.isnan(rows), axis=0)  # all of them without rows
    return Production(
        tuple(itertools.compress(names, known.tolist())),
        rows[:, known],
        np.array(slices, dtype=object)[first],
        np.array(ids, dtype=np.int64)[worst],
        np.concatenate(times)[first],
        ids[-1] if ids else None,
    )


def _table(described: Iterable[Mapping[str, float]], names: Sequence[str]) -> np.ndarray:
    """Return the descriptors `names` as float32 [n, d]; those that are missing are NaN."""
    try:
        return np.array(list(map(itemgetter(*names, names[0]), described)), np.float32)[:, :-1]
    except KeyError:
        return np.array([[one.get(name, np.nan) for name in names] for one in described], np.float32)


def parts_per_month(times: np.ndarray) -> float:
    """Return how many parts the line inspects in 30 days, from the latest 30. At least one day is assumed to be seen."""
    if not len(times):
        return 0.0
    latest = times[times > times[-1] - MONTH]
    days = max(float((latest[-1] - latest[0]) / DAY), 1.0)
    return len(latest) * 30 / days
