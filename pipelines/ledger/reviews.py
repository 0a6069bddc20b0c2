"""Campaigns and reviews in the ledger: who is asked about which part, and what they said."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, CampaignPart, Inspection, RetrainingRequest, Review, now


def asked_parts(ledger: Ledger, line: str) -> set[str]:
    """Every part that a campaign of the line ever asked about, or that somebody judged."""
    asked = select(CampaignPart.part).join(Campaign, Campaign.id == CampaignPart.campaign_id)
    with ledger.reading() as session:
        judged = set(session.scalars(select(Review.part).where(Review.line == line)))
        return judged | set(session.scalars(asked.where(Campaign.line == line)))


def add_campaign(
    ledger: Ledger, line: str, chosen: Sequence[tuple[Inspection, str]], request_id: int | None = None
) -> Campaign:
    """Open a campaign for these inspections, each with the reason it was chosen for, in one transaction with the
    retraining request that needs it."""
    campaign = Campaign(line=line, wanted=len(chosen), opened_at=now())
    with ledger.writing() as session:
        session.add(campaign)
        session.flush()
        session.add_all(
            CampaignPart(campaign_id=campaign.id, part=item.part, inspection_id=item.id, chosen_for=reason)
            for item, reason in chosen
        )
        if request_id is not None:
            request = session.get_one(RetrainingRequest, request_id)
            request.campaign_id, request.state = campaign.id, "labelling"
    return campaign


def campaign(ledger: Ledger, campaign_id: int) -> Campaign:
    with ledger.reading() as session:
        return session.get_one(Campaign, campaign_id)


def completed(ledger: Ledger, line: str) -> list[Campaign]:
    """Campaigns of the line that have all their labels, oldest first."""
    query = select(Campaign).where(Campaign.line == line, Campaign.completed_at.is_not(None)).order_by(Campaign.id)
    with ledger.reading() as session:
        return list(session.scalars(query))


def open_campaign_of(ledger: Ledger, line: str, part: str) -> CampaignPart | None:
    """Where an open campaign asks about the part; the oldest such campaign."""
    query = (
        select(CampaignPart)
        .join(Campaign, Campaign.id == CampaignPart.campaign_id)
        .where(Campaign.line == line, Campaign.completed_at.is_(None), CampaignPart.part == part)
        .order_by(Campaign.id)
    )
    with ledger.reading() as session:
        return session.scalar(query)


def waiting(ledger: Ledger, line: str) -> list[Inspection]:
    """Inspections whose part an open campaign asks about and nobody has judged yet."""
    judged = select(Review.part).where(Review.campaign_id == CampaignPart.campaign_id)
    query = (
        select(Inspection)
        .join(CampaignPart, CampaignPart.inspection_id == Inspection.id)
        .join(Campaign, Campaign.id == CampaignPart.campaign_id)
        .where(Campaign.line == line, Campaign.completed_at.is_(None), CampaignPart.part.not_in(judged))
        .order_by(Inspection.id)
    )
    with ledger.reading() as session:
        return list(session.scalars(query))


def add_review(ledger: Ledger, review: Review) -> tuple[int, bool]:
    """Keep one judgement. Returns how many parts of its campaign have one, and whether this completed the campaign."""
    with ledger.writing() as session:
        session.add(review)
        session.flush()
        if review.campaign_id is None:
            return 0, False
        asked = session.get_one(Campaign, review.campaign_id)
        labelled = session.scalar(
            select(func.count(Review.part.distinct())).where(Review.campaign_id == review.campaign_id)
        )
        completes = asked.completed_at is None and int(labelled or 0) >= asked.wanted
        if completes:
            asked.completed_at = now()
    return int(labelled or 0), completes


def of_campaign(ledger: Ledger, campaign_id: int) -> list[tuple[Review, Inspection]]:
    """The latest judgement of every part of the campaign, in the order of parts."""
    query = (
        select(Review, Inspection)
        .join(Inspection, Inspection.id == Review.inspection_id)
        .where(Review.campaign_id == campaign_id)
        .order_by(Review.id)
    )
    with ledger.reading() as session:
        latest = {review.part: (review, item) for review, item in session.execute(query)}
    return [latest[part] for part in sorted(latest)]


def chosen_for(ledger: Ledger, campaign_id: int) -> dict[str, str]:
    """Why the campaign asked about each of its parts."""
    query = select(CampaignPart.part, CampaignPart.chosen_for).where(CampaignPart.campaign_id == campaign_id)
    with ledger.reading() as session:
        return {str(part): str(reason) for part, reason in session.execute(query)}


def of_part(ledger: Ledger, line: str, part: str) -> list[Review]:
    query = select(Review).where(Review.line == line, Review.part == part).order_by(Review.id)
    with ledger.reading() as session:
        return list(session.scalars(query))
