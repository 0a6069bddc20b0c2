"""Which rows name an image: read as a whole, because several parts, views and lines may show the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import select

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.part_verdicts import SEVERITY
from pipelines.ledger.tables import Campaign, CampaignPart, Inspection, Rejection

_AT_ONCE = 5000  # rows that are read together


class Use(NamedTuple):
    """A part and its images. `verdict` is that of its present views together, `last` the time of its latest inspection."""

    part: str
    verdict: str
    last: datetime
    images: frozenset[str]


class RejectedImage(NamedTuple):
    image: str
    part: str
    view: str | None
    rejected_at: datetime


def parts(ledger: Ledger, line: str) -> Iterator[Use]:
    """Yield every inspected part of the line. The verdict follows the rule of `part_verdicts`."""
    columns = (Inspection.part, Inspection.view, Inspection.image, Inspection.verdict, Inspection.inspected_at)
    query = select(*columns).where(Inspection.line == line).order_by(Inspection.part, Inspection.id)
    name = {number: verdict for verdict, number in SEVERITY.items()}
    with ledger.reading() as session:
        rows = session.execute(query.execution_options(yield_per=_AT_ONCE))
        for part, of_part in groupby(rows, key=lambda row: row.part):
            views: dict[tuple[str | None, str], int] = {}
            images, last = set(), None
            for _, view, image, verdict, at in of_part:
                views[(view, "") if view is not None else (None, image)] = SEVERITY[verdict]
                images.add(image)
                last = at if last is None else max(last, at)
            assert last is not None
            yield Use(part, name[max(views.values())], last, frozenset(images))


def rejected(ledger: Ledger, line: str) -> list[RejectedImage]:
    columns = (Rejection.image, Rejection.part, Rejection.view, Rejection.rejected_at)
    with ledger.reading() as session:
        return [RejectedImage(*row) for row in session.execute(select(*columns).where(Rejection.line == line))]


def of_other_lines(ledger: Ledger, line: str) -> Iterator[str]:
    """Yield the images of the other lines in this ledger; an image may come several times."""
    with ledger.reading() as session:
        for table in (Inspection, Rejection):
            query = select(table.image).where(table.line != line)
            yield from session.scalars(query.execution_options(yield_per=_AT_ONCE))


def asked_about(ledger: Ledger, line: str) -> set[str]:
    """Return the parts of open campaigns."""
    query = (
        select(CampaignPart.part)
        .join(Campaign, Campaign.id == CampaignPart.campaign_id)
        .where(Campaign.line == line, Campaign.completed_at.is_(None))
    )
    with ledger.reading() as session:
        return set(session.scalars(query))
