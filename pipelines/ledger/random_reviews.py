"""Labels of randomly chosen parts, from which the line's defect rate is estimated."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from models.vocabulary import Label
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, CampaignPart, Review


def labels(ledger: Ledger, line: str, reasons: Collection[str]) -> list[str]:
    """Return the latest labels of the parts that campaigns of the line chose for one of these reasons."""
    return list(by_part(ledger, line, reasons).values())


def by_part(ledger: Ledger, line: str, reasons: Collection[str]) -> dict[str, str]:
    """Return the latest label of each of these parts that has one."""
    query = (
        select(Review.part, Review.label)
        .join(CampaignPart, CampaignPart.part == Review.part)
        .join(Campaign, Campaign.id == CampaignPart.campaign_id)
        .where(Campaign.line == line, Review.line == line, CampaignPart.chosen_for.in_(reasons))
        .order_by(Review.id)
    )
    with ledger.reading() as session:
        latest = {str(part): str(label) for part, label in session.execute(query)}
    return {part: label for part, label in latest.items() if label in set(Label)}
