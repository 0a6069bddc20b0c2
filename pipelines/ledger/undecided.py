"""Parts with the verdict `review` that nobody has reviewed since."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Select, case, exists, func, select
from sqlalchemy.orm import aliased

from models.vocabulary import Verdict
from pipelines.ledger import deletions, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, CampaignPart, ImageDeletion, Inspection, Review


@dataclass(frozen=True)
class Undecided:
    """The oldest such parts, each with its latest inspection with the verdict `review`, and the total number. `deleted`
    counts parts that are not among them: nobody can judge them any more, as their images were deleted under retention."""

    parts: list[Inspection]
    total: int
    deleted: int = 0


def parts(ledger: Ledger, line: str, limit: int) -> Undecided:
    """Return such parts, oldest first, skipped ones last. Parts in open campaigns are left out."""
    undecided_parts = _undecided_parts(line).subquery()
    skipped = (
        select(Review.part, func.max(Review.id).label("skip"))
        .where(Review.line == line, Review.answer == reviews.SKIP)
        .group_by(Review.part)
        .subquery()
    )
    listed = (
        select(Inspection)
        .join(undecided_parts, Inspection.id == undecided_parts.c.inspection)
        .outerjoin(skipped, skipped.c.part == Inspection.part)
        .order_by(func.coalesce(skipped.c.skip, 0), undecided_parts.c.first)
        .limit(limit)
    )
    with ledger.reading() as session:
        total = session.scalar(select(func.count()).select_from(undecided_parts)) or 0
        with_deleted = total
        if session.scalar(select(exists().where(ImageDeletion.line == line, ImageDeletion.state == deletions.DELETED))):
            every = _undecided_parts(line, with_deleted=True).subquery()
            with_deleted = session.scalar(select(func.count()).select_from(every)) or 0
        return Undecided(list(session.scalars(listed)), int(total), int(with_deleted - total))


def _undecided_parts(line: str, *, with_deleted: bool = False) -> Select:
    """Return a query with one row per part. Parts with several images fail if one fails, and go to review if one does."""
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
    if not with_deleted:
        unclear = unclear.where(
            ~exists().where(
                ImageDeletion.image == Inspection.image,
                ImageDeletion.state == deletions.DELETED,
                ImageDeletion.decided_at > Inspection.inspected_at,
            )
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
