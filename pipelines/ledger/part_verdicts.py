"""The verdict on a part, from the inspections of its images. Pure.

The latest inspection of each view is used. The part fails if any view fails, goes to review if any view does, and passes
otherwise; its score is that of its most suspicious image. Each image without a stated view is a view of its own, identified
by its bytes.
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
    """`views` are the latest inspections of each view, most suspicious first."""

    part: str
    verdict: Verdict
    score: float
    views: tuple[Inspection, ...]


def of(inspections: Iterable[Inspection]) -> PartVerdict:
    """Return the verdict on one part from all its inspections (at least one, in any order)."""
    latest: dict[tuple[str | None, str], Inspection] = {}
    for item in sorted(inspections, key=lambda item: item.id):
        latest[view_of(item)] = item
    views = sorted(latest.values(), key=lambda item: (SEVERITY[item.verdict], item.score, item.id), reverse=True)
    worst = views[0]
    return PartVerdict(worst.part, Verdict(worst.verdict), worst.score, tuple(views))


def by_part(inspections: Iterable[Inspection]) -> list[PartVerdict]:
    """Return the verdict on every part, in the order of first inspection."""
    parts: dict[str, list[Inspection]] = defaultdict(list)
    for item in inspections:
        parts[item.part].append(item)
    return [of(images) for images in parts.values()]


def view_of(item: Inspection) -> tuple[str | None, str]:
    """Return the key of a view: its stated name, or else the image."""
    return (item.view, "") if item.view is not None else (None, item.image)
