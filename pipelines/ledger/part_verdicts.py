"""One verdict for a part, from the inspections of its images. Pure.

Of every view the latest inspection counts. The part fails when one of them fails, goes to review when one is unclear, and
passes otherwise; its most suspicious image gives its score. An image whose view nobody stated is a view of its own: the
same bytes once more are the same view, another picture is another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from models.vocabulary import Verdict
from pipelines.ledger.tables import Inspection

SEVERITY = {Verdict.PASS.value: 0, Verdict.REVIEW.value: 1, Verdict.FAIL.value: 2}


@dataclass(frozen=True)
class PartVerdict:
    """`views` are the inspections that count, the most suspicious first."""

    part: str
    verdict: Verdict
    score: float
    views: tuple[Inspection, ...]


def of(inspections: Iterable[Inspection]) -> PartVerdict:
    """The verdict on one part from all its inspections, at least one, in any order."""
    latest: dict[tuple[str | None, str], Inspection] = {}
    for item in sorted(inspections, key=lambda item: item.id):
        latest[view_of(item)] = item
    views = sorted(latest.values(), key=lambda item: (SEVERITY[item.verdict], item.score, item.id), reverse=True)
    worst = views[0]
    return PartVerdict(worst.part, Verdict(worst.verdict), worst.score, tuple(views))


def by_part(inspections: Iterable[Inspection]) -> list[PartVerdict]:
    """The verdict on every part, in the order in which the parts were first inspected."""
    parts: dict[str, list[Inspection]] = defaultdict(list)
    for item in inspections:
        parts[item.part].append(item)
    return [of(images) for images in parts.values()]


def view_of(item: Inspection) -> tuple[str | None, str]:
    """What tells one view of a part from another: its stated name, or else the image itself."""
    return (item.view, "") if item.view is not None else (None, item.image)
