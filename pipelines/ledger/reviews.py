"""Reviews of parts. They are never overwritten; the latest answer is used."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.requests import TRAINED
from pipelines.ledger.tables import Inspection, RetrainingRequest, Review

LABEL, CANT_SAY, SKIP = "label", "cant_say", "skip"  # kinds of answer; a skipped part still waits for an answer


def answered(line: str) -> Select:
    """Return a subquery of the answered parts of the line."""
    return select(Review.part).where(Review.line == line, Review.answer != SKIP)


def latest(ledger: Ledger, line: str) -> list[tuple[Review, Inspection]]:
    """Return the latest answer about every part of the line with its inspection, ordered by part."""
    query = (
        select(Review, Inspection)
        .join(Inspection, Inspection.id == Review.inspection_id)
        .where(Review.line == line, Review.answer != SKIP)
        .order_by(Review.id)
    )
    with ledger.reading() as session:
        by_part = {review.part: (review, item) for review, item in session.execute(query)}
    return [by_part[part] for part in sorted(by_part)]


def last_skips(ledger: Ledger, line: str) -> dict[str, int]:
    """Return the id of the latest skip of each part."""
    query = select(Review.part, func.max(Review.id)).where(Review.line == line, Review.answer == SKIP)
    with ledger.reading() as session:
        return {str(part): int(number) for part, number in session.execute(query.group_by(Review.part))}


def newest(ledger: Ledger, line: str) -> int:
    """Return the id of the line's newest review, or 0."""
    with ledger.reading() as session:
        return session.scalar(select(func.max(Review.id)).where(Review.line == line)) or 0


def unlearned(ledger: Ledger, line: str, request_id: int | None = None) -> int:
    """Return the number of labelled parts that no retraining has used yet, or none but the request `request_id`, whose
    process may have been killed after its training."""
    with ledger.reading() as session:
        return unlearned_in(session, line, request_id)


def unlearned_in(session: Session, line: str, request_id: int | None = None) -> int:
    query = select(func.count(Review.part.distinct())).where(
        Review.line == line, Review.label.is_not(None), Review.id > _last_learned(session, line, request_id)
    )
    return int(session.scalar(query) or 0)


def _last_learned(session: Session, line: str, besides: int | None = None) -> int:
    learned = select(func.max(RetrainingRequest.last_review)).where(
        RetrainingRequest.line == line, RetrainingRequest.state.in_(TRAINED)
    )
    if besides is not None:
        learned = learned.where(RetrainingRequest.id != besides)
    return session.scalar(learned) or 0


def unlearned_by_label(ledger: Ledger, line: str) -> dict[str, int]:
    """Return the numbers of labelled parts that no retraining has used yet, by their latest label. Reviews outside
    campaigns count too."""
    with ledger.reading() as session:
        query = (
            select(Review.part, Review.label)
            .where(Review.line == line, Review.label.is_not(None), Review.id > _last_learned(session, line))
            .order_by(Review.id)
        )
        return dict(Counter(str(label) for label in dict(session.execute(query).tuples().all()).values()))


def of_part(ledger: Ledger, line: str, part: str) -> list[Review]:
    query = select(Review).where(Review.line == line, Review.part == part).order_by(Review.id)
    with ledger.reading() as session:
        return list(session.scalars(query))
