"""The parts that a version inspected, as a stream: one row per visit of a part, in the order of inspection.

Images of one part that follow each other closely are one visit, described by the most suspicious of them. A part that comes
back later is a visit of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from pipelines.ledger import inspections
from pipelines.ledger.ledger import Ledger

VISIT = 64  # visits that may lie between two images of the same one
_BLOCK = 4096


@dataclass(frozen=True)
class Production:
    """`rows` [n, d] are the descriptors `names`; the other fields have one entry per row. `ids` number the inspections."""

    names: tuple[str, ...]
    rows: np.ndarray
    slices: np.ndarray
    ids: np.ndarray
    times: Sequence[datetime]
    last: int | None  # id of the latest inspection


def read(ledger: Ledger, line: str, artefact_sha256: str, names: Sequence[str]) -> Production:
    """Read all inspections by one model. Descriptors that some inspection lacks are left out."""
    blocks, current = [np.empty((0, len(names)), np.float32)], np.empty((_BLOCK, len(names)), np.float32)
    slices: list[str | None] = []
    ids: list[int] = []
    times: list[datetime] = []
    row_of: dict[str, int] = {}
    last = None
    score = list(names).index("score")
    for number, part, slice, at, described in inspections.descriptors_of(ledger, line, artefact_sha256):
        values = [described.get(name, np.nan) for name in names]
        last, row = number, row_of.get(part)
        if row is not None and len(ids) - row <= VISIT:
            place = blocks[1 + row // _BLOCK] if row // _BLOCK < len(blocks) - 1 else current
            if values[score] > place[row % _BLOCK, score]:
                place[row % _BLOCK] = values
                ids[row] = number
            continue
        row_of[part] = len(ids)
        current[len(ids) % _BLOCK] = values
        slices.append(slice)
        ids.append(number)
        times.append(at)
        if len(ids) % _BLOCK == 0:
            blocks.append(current)
            current = np.empty_like(current)
    rows = np.concatenate([*blocks, current[: len(ids) % _BLOCK]])
    known = ~np.isnan(rows).any(axis=0) if len(rows) else np.ones(len(names), bool)
    return Production(
        tuple(name for name, is_known in zip(names, known, strict=True) if is_known),
        rows[:, known],
        np.array(slices, dtype=object),
        np.array(ids, dtype=np.int64),
        times,
        last,
    )


def parts_per_month(times: Sequence[datetime]) -> float:
    """Return how many parts the line inspects in 30 days, from the latest 30. At least one day is assumed to be seen."""
    if not times:
        return 0.0
    latest = [at for at in times if (times[-1] - at).days < 30]
    days = max((latest[-1] - latest[0]).total_seconds() / 86400, 1.0)
    return len(latest) * 30 / days
