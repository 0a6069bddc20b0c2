"""Parts that the detector left to a person: their verdict is `review`, and nobody has answered since."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Select, case, exists, func, select
from sqlalchemy.orm import aliased

from models.vocabulary import Verdict
from pipelines.ledger import reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, CampaignPart, Inspection, Review


@dataclass(frozen=True)
class Undecided:
    """The oldest such parts, each with its latest inspection that asks for a person, and how many there are in all."""

    parts: list[Inspection]
    total: int


def parts(ledger: Ledger, line: str, limit: int) -> Undecided:
    """Oldest first; those that were skipped come last. Parts that an open campaign asks about are in that campaign."""
    left_to_people = _left_to_people(line).subquery()
    skipped = (
        select(Review.part, func.max(Review.id).label("skip"))
        .where(Review.line == line, Review.answer == reviews.SKIP)
        .group_by(Review.part)
        .subquery()
    )
    listed = (
        select(Inspection)
        .join(left_to_people, Inspection.id == left_to_people.c.inspection)
        .outerjoin(skipped, skipped.c.part == Inspection.part)
        .order_by(func.coalesce(skipped.c.skip, 0), left_to_people.c.first)
        .limit(limit)
    )
    with ledger.reading() as session:
        total = session.scalar(select(func.count()).select_from(left_to_people)) or 0
        return Undecided(list(session.scalars(listed)), int(total))


def _left_to_people(line: str) -> Select:
    """One row a part. The verdict of a part with several images: fail if one fails, review if one is unclear, else pass."""
    judged = aliased(Inspection)
    answer = (
        select(Review.id)
        .join(judged, judged.id == Review.inspection_id)
        .where(
            Review.line == line,
            Review.part == Inspection.part,
            Review.answer != reviews.SKIP,
            (judged.id >= Inspection.id) | (judged.image == Inspection.image),
        )
    )
    asked = (
        select(CampaignPart.part)
        .join(Campaign, Campaign.id == CampaignPart.campaign_id)
        .where(Campaign.line == line, Campaign.completed_at.is_(None))
    )
    unclear = select(Inspection.part).where(
        Inspection.line == line,
        Inspection.verdict == Verdict.REVIEW,
        Inspection.part.not_in(asked),
        ~exists(answer),
    )
    of_each_image = (
        select(func.max(Inspection.id))
        .where(Inspection.line == line, Inspection.part.in_(unclear))
        .group_by(Inspection.part, func.coalesce(Inspection.view, Inspection.image))
    )
    failed = func.max(case((Inspection.verdict == Verdict.FAIL, 1), else_=0))
    review = case((Inspection.verdict == Verdict.REVIEW, Inspection.id))
    return (
        select(func.max(review).label("inspection"), func.min(review).label("first"))
        .where(Inspection.id.in_(of_each_image))
        .group_by(Inspection.part)
        .having(failed == 0, func.max(review).is_not(None))
    )
