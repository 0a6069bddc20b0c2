"""Pairs the answers of two versions on the same test parts: all of them, by slice, and by defect type. Pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from models.evaluation import evaluation
from models.metrics import costs, paired_costs
from models.metrics.paired_costs import Paired
from models.params import Cost
from models.vocabulary import OperatingPoint
from pipelines.promotion.evidence import Comparison

SAMPLE = 64  # hashes of parts that a decision keeps
SAME = 0.5  # share of the present test parts that an earlier decision must have seen to count as a look at them

Judged = tuple[pa.Table, OperatingPoint]


def compare(
    challenger: Judged, champion: Judged, cost: Cost, rate: float | None, name_of_champion: str, look: int
) -> Comparison:
    """Pair two versions' answers on the same images. `rate` is the line's defect rate if it is known."""

    def paired(chosen: pa.Array | None = None) -> Paired:
        paid = []
        for table, point in (challenger, champion):
            some = table if chosen is None else table.filter(pc.is_in(table["part"], value_set=chosen))
            paid.append(costs.of_parts(*evaluation.of_parts(some), point, cost))
        return paired_costs.pair(paid[0], paid[1], rate, cost)

    rows = challenger[0].select(["part", "slice", "defect_types"]).to_pylist()
    slices: dict[str, set[str]] = defaultdict(set)
    types: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        slices[row["slice"]].add(row["part"])
        for name in row["defect_types"] or ():
            types[name].add(row["part"])
    return Comparison(
        champion=name_of_champion,
        whole=paired(),
        slices={name: paired(pa.array(sorted(parts))) for name, parts in slices.items()},
        types={name: paired(pa.array(sorted(parts))) for name, parts in types.items()},
        look=look,
    )


def sample_of(parts: Iterable[str]) -> list[str]:
    """Return the smallest hashes of the names of the test parts, at most 64, ascending. A decision keeps them, so that
    later ones know how many of their test parts it saw."""
    hashes = {hashlib.sha256(part.encode()).hexdigest()[:12] for part in parts}
    return sorted(hashes)[:SAMPLE]


def seen_before(present: Sequence[str], earlier: Sequence[str]) -> float:
    """Return the share of the present test parts that were among the earlier ones, from the samples of both.

    A hash below the largest of a full sample is in the sample if the part was there, so the share is unbiased.
    """
    known = [one for one in present if len(earlier) < SAMPLE or one <= earlier[-1]]
    return len({*known} & {*earlier}) / len(known) if known else 0.0


def looks_before(decisions: Iterable[Any], version: str, champion: str, sample: Sequence[str]) -> int:
    """Return how many other versions were judged against this champion on these test parts. `decisions` are rows of the
    ledger's table of promotions, of the line; those of older releases kept no sample and are not counted."""
    return len(
        {
            one.version
            for one in decisions
            if one.version != version
            and one.champion_before == champion
            and seen_before(sample, one.numbers.get("test_parts", [])) >= SAME
        }
    )
