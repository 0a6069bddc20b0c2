"""Review campaigns in the ledger: their parts, their progress, and how they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.ledger import events, reviews
from pipelines.ledger.events import CLOSED, STORED_CLOSED
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.requests import RequestEnded
from pipelines.ledger.tables import Campaign, CampaignPart, Inspection, RetrainingRequest, Review, now


@dataclass(frozen=True)
class Progress:
    """Numbers of parts of a campaign. `answered` includes parts that could not be judged; `labelled` does not."""

    wanted: int
    answered: int
    labelled: int


@dataclass(frozen=True)
class AskedPart:
    """A part that an open campaign asks about: the inspection for which it was chosen, and the reason."""

    inspection: Inspection
    campaign_id: int
    chosen_for: str


def add(ledger: Ledger, line: str, chosen: Sequence[tuple[Inspection, str]], request_id: int | None = None) -> Campaign:
    """Open a campaign for these inspections, each with the reason for its choice.

    The retraining request is updated in the same transaction. If another run of the request has opened a campaign, that one
    is returned.
    """
    campaign = Campaign(line=line, wanted=len(chosen), opened_at=now())
    with ledger.writing() as session:
        request = session.get_one(RetrainingRequest, request_id) if request_id is not None else None
        if request is not None and request.campaign_id is not None:
            return session.get_one(Campaign, request.campaign_id)
        if request is not None and request.state in CLOSED:
            raise RequestEnded(request)
        session.add(campaign)
        session.flush()
        session.add_all(
            CampaignPart(campaign_id=campaign.id, part=item.part, inspection_id=item.id, chosen_for=reason)
            for item, reason in chosen
        )
        if request is not None:
            request.campaign_id, request.state = campaign.id, "awaiting_labels"
        session.flush()
        end_when_answered(session, campaign)  # all parts may have been reviewed before
    return campaign


def of_request(ledger: Ledger, request_id: int) -> Campaign | None:
    """Return the campaign of a retraining request, or None if it has none yet."""
    with ledger.reading() as session:
        asked = session.get_one(RetrainingRequest, request_id).campaign_id
        return None if asked is None else session.get_one(Campaign, asked)


def is_open(ledger: Ledger, campaign_id: int) -> bool:
    with ledger.reading() as session:
        return session.get_one(Campaign, campaign_id).completed_at is None


def open_ones(ledger: Ledger, line: str) -> list[Campaign]:
    """Return the open campaigns of the line, oldest first."""
    query = select(Campaign).where(Campaign.line == line, Campaign.completed_at.is_(None)).order_by(Campaign.id)
    with ledger.reading() as session:
        return list(session.scalars(query))


def usable(ledger: Ledger, line: str) -> set[int]:
    """Return the ids of campaigns that have labels or are still open."""
    labelled = (
        select(CampaignPart.campaign_id)
        .join(Campaign, Campaign.id == CampaignPart.campaign_id)
        .join(Review, (Review.line == Campaign.line) & (Review.part == CampaignPart.part))
        .where(Campaign.line == line, Review.label.is_not(None))
    )
    with ledger.reading() as session:
        campaigns = session.scalars(select(Campaign).where(Campaign.line == line)).all()
        with_labels = set(session.scalars(labelled))
    return {item.id for item in campaigns if item.completed_at is None or item.id in with_labels}


def sizes_since(ledger: Ledger, line: str, moment: datetime) -> list[tuple[datetime, int]]:
    """Return time and number of parts of the campaigns that were opened after `moment`."""
    query = select(Campaign.opened_at, Campaign.wanted).where(Campaign.line == line, Campaign.opened_at > moment)
    with ledger.reading() as session:
        return [(row.opened_at, row.wanted) for row in session.execute(query)]


def progress(ledger: Ledger, campaign_id: int) -> Progress:
    with ledger.reading() as session:
        return _progress(session, session.get_one(Campaign, campaign_id))


def open_campaign_of(ledger: Ledger, line: str, part: str) -> CampaignPart | None:
    """Return the entry for this part in the oldest open campaign that asks about it, or None."""
    query = (
        select(CampaignPart)
        .join(Campaign, Campaign.id == CampaignPart.campaign_id)
        .where(Campaign.line == line, Campaign.completed_at.is_(None), CampaignPart.part == part)
        .order_by(Campaign.id)
    )
    with ledger.reading() as session:
        return session.scalar(query)


def waiting(ledger: Ledger, line: str) -> list[AskedPart]:
    """Return the unanswered parts of open campaigns. Skipped parts come last."""
    query = (
        select(Inspection, CampaignPart)
        .join(CampaignPart, CampaignPart.inspection_id == Inspection.id)
        .join(Campaign, Campaign.id == CampaignPart.campaign_id)
        .where(Campaign.line == line, Campaign.completed_at.is_(None), CampaignPart.part.not_in(reviews.answered(line)))
        .order_by(Inspection.id)
    )
    with ledger.reading() as session:
        asked_parts = [AskedPart(item, asked.campaign_id, asked.chosen_for) for item, asked in session.execute(query)]
    skipped = reviews.last_skips(ledger, line)
    return sorted(asked_parts, key=lambda asked: skipped.get(asked.inspection.part, 0))


def parts_in_question(ledger: Ledger, line: str) -> set[str]:
    """Return the parts that new campaigns need not ask about: they are in an open campaign, or were answered in another."""
    asked = (
        select(CampaignPart.part)
        .join(Campaign, Campaign.id == CampaignPart.campaign_id)
        .where(Campaign.line == line)
        .where(Campaign.completed_at.is_(None) | CampaignPart.part.in_(reviews.answered(line)))
    )
    with ledger.reading() as session:
        return set(session.scalars(asked))


def reasons(ledger: Ledger, line: str) -> dict[str, set[str]]:
    """Return the reasons for which campaigns of the line chose each part."""
    query = (
        select(CampaignPart.part, CampaignPart.chosen_for)
        .join(Campaign, Campaign.id == CampaignPart.campaign_id)
        .where(Campaign.line == line)
    )
    of_part: dict[str, set[str]] = {}
    with ledger.reading() as session:
        for part, reason in session.execute(query):
            of_part.setdefault(part, set()).add(reason)
    return of_part


def close(ledger: Ledger, campaign_id: int, *, because: str, by: str | None = None) -> Campaign:
    """End an open campaign early; its answers are used. A campaign that has ended is not changed."""
    with ledger.writing() as session:
        campaign = session.get_one(Campaign, campaign_id)
        if campaign.completed_at is None:
            campaign.closed_by, campaign.closed_because = by, because
            _end(session, campaign)
    return campaign


def add_review(ledger: Ledger, review: Review) -> bool:
    """Record a review. Returns whether it ended its campaign."""
    with ledger.writing() as session:
        session.add(review)
        session.flush()
        if review.campaign_id is None:
            return False
        return end_when_answered(session, session.get_one(Campaign, review.campaign_id))


def add_reviews(ledger: Ledger, added: Sequence[Review]) -> set[int]:
    """Record all reviews in one transaction. Returns the campaigns that they ended."""
    with ledger.writing() as session:
        session.add_all(added)
        session.flush()
        asked = sorted({review.campaign_id for review in added if review.campaign_id is not None})
        return {number for number in asked if end_when_answered(session, session.get_one(Campaign, number))}


def end_when_answered(session: Session, campaign: Campaign) -> bool:
    """End an open campaign if every part is answered. Returns whether it ended."""
    if campaign.completed_at is not None or _progress(session, campaign).answered < campaign.wanted:
        return False
    _end(session, campaign)
    return True


def _end(session: Session, campaign: Campaign) -> None:
    """End the campaign. The request that waits for it continues, or fails if there are no labels to train on."""
    ended: datetime = now()
    campaign.completed_at = ended
    unfinished = select(RetrainingRequest).where(
        RetrainingRequest.campaign_id == campaign.id, RetrainingRequest.state.not_in(STORED_CLOSED)
    )
    request = session.scalar(unfinished)
    if request is None:
        return
    labelled = _progress(session, campaign).labelled
    if labelled or reviews.unlearned_in(session, campaign.line):
        events.add_labels_completed(session, request, campaign_id=campaign.id, labelled=labelled, at=ended)
    else:
        why = campaign.closed_because or "none of its parts could be judged"
        request.state, request.closed_at = "failed", ended
        request.outcome = f"Campaign {campaign.id} ended without labels: {why}"


def _progress(session: Session, campaign: Campaign) -> Progress:
    query = (
        select(Review.part, Review.label)
        .join(CampaignPart, CampaignPart.part == Review.part)
        .where(CampaignPart.campaign_id == campaign.id, Review.line == campaign.line, Review.answer != reviews.SKIP)
        .order_by(Review.id)
    )
    labels = {row.part: row.label for row in session.execute(query)}
    return Progress(campaign.wanted, len(labels), sum(label is not None for label in labels.values()))
