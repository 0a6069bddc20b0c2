"""Deletions of images under the line's rules of retention: decided in a transaction, carried out, and marked as done.

What has come to need an image since the candidates were chosen is looked for again when the decision is committed. A record
that was committed before this look keeps its image. Whoever commits one later finds the decision (`newest`) and stores the
image again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.orm import Session

from pipelines.ledger import chain
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, CampaignPart, Chained, ImageDeletion, Inspection, Rejection, Review, now

PENDING, DELETED, KEPT = "pending", "deleted", "kept"
_AT_ONCE = 500  # bound parameters per statement
# A database with concurrent writers may commit a lower id after a higher one: of this many ids, recent rows count as new.
_UNORDERED, _RECENT = 10_000, timedelta(hours=1)


@dataclass(frozen=True)
class Seen:
    """The newest rows of the moment `at` when candidates were chosen, by id."""

    at: datetime
    inspection: int
    rejection: int
    review: int
    deletion: int


@dataclass(frozen=True)
class Total:
    """What was deleted on a line. `last` is the time of the latest deletion, or None."""

    images: int
    bytes: int
    last: datetime | None


def seen(ledger: Ledger) -> Seen:
    with ledger.reading() as session:
        newest = (
            session.scalar(select(func.max(table.id))) or 0 for table in (Inspection, Rejection, Review, ImageDeletion)
        )
        return Seen(now(), *newest)


def decide(ledger: Ledger, line: str, wanted: Mapping[str, tuple[str, int]], by: str, since: Seen) -> list[str]:
    """Store the decision to delete these images, each with its rule and bytes. Returns those that are to be removed now.

    What has come to need an image since the candidates were chosen keeps it, also if its deletion was decided by a run that
    was killed. Images that another run is deleting are left to it.
    """
    with ledger.writing() as session:
        needed = _needed_since(session, line, since)
        before: dict[str, ImageDeletion] = {}
        for block in _blocks(list(wanted)):
            query = select(ImageDeletion).where(ImageDeletion.line == line, ImageDeletion.image.in_(block))
            recent = (ImageDeletion.state == PENDING) | (ImageDeletion.id > since.deletion)
            before |= {deletion.image: deletion for deletion in session.scalars(query.where(recent))}
        chosen = []
        for image, (rule, size) in wanted.items():
            other = before.get(image)
            if other is not None and other.id > since.deletion:
                continue
            if image in needed:
                if other is not None:
                    other.state, other.done_at = KEPT, now()
                continue
            chosen.append(image)
            if other is None:
                session.add(
                    ImageDeletion(line=line, image=image, rule=rule, bytes=size, decided_by=by, decided_at=now())
                )
    with ledger.reading() as session:  # in a database with concurrent writers, some may have committed since that look
        needed = _needed_since(session, line, since)
    if late := [image for image in chosen if image in needed]:
        done(ledger, line, late, KEPT)
    return [image for image in chosen if image not in needed]


def done(ledger: Ledger, line: str, images: Collection[str], state: str = DELETED) -> None:
    """Mark the pending deletions of these images as carried out, or as not needed any more (`KEPT`)."""
    with ledger.writing() as session:
        for block in _blocks(list(images)):
            query = select(ImageDeletion).where(
                ImageDeletion.line == line, ImageDeletion.state == PENDING, ImageDeletion.image.in_(block)
            )
            for deletion in session.scalars(query):
                deletion.state, deletion.done_at = state, now()


def pending(ledger: Ledger, line: str) -> list[str]:
    """Return the images whose deletion was decided and not carried out: the process was killed in between."""
    query = select(ImageDeletion.image).where(ImageDeletion.line == line, ImageDeletion.state == PENDING)
    with ledger.reading() as session:
        return list(dict.fromkeys(session.scalars(query)))


def newest(ledger: Ledger, images: Sequence[str]) -> dict[str, str]:
    """Return the state of the newest deletion of each of these images, on any line; images without one are missing."""
    states: dict[str, str] = {}
    with ledger.connected() as connection:
        for block in _blocks(images):
            states |= dict(_states(connection, block))
    return states


def of_images(ledger: Ledger, images: Sequence[str]) -> dict[str, ImageDeletion]:
    """Return the newest deletion of each of these images that was carried out, on any line."""
    found: dict[str, ImageDeletion] = {}
    with ledger.reading() as session:
        for block in _blocks(images):
            query = select(ImageDeletion).where(ImageDeletion.image.in_(block), ImageDeletion.state == DELETED)
            found |= {deletion.image: deletion for deletion in session.scalars(query.order_by(ImageDeletion.id))}
    return found


def of_inspections(ledger: Ledger, inspected: Sequence[Inspection]) -> dict[str, ImageDeletion]:
    """Return the deletions of the images of these inspections, unless an image was inspected again after its deletion."""
    last: dict[str, datetime] = {}
    for item in inspected:
        last[item.image] = max(last.get(item.image, item.inspected_at), item.inspected_at)
    return {image: one for image, one in of_images(ledger, list(last)).items() if one.decided_at > last[image]}


def total(ledger: Ledger, line: str) -> Total:
    query = select(func.count(), func.sum(ImageDeletion.bytes), func.max(ImageDeletion.done_at)).where(
        ImageDeletion.line == line, ImageDeletion.state == DELETED
    )
    with ledger.reading() as session:
        images, size, last = session.execute(query).one()
        return Total(int(images), int(size or 0), last)


def told(deletion: ImageDeletion) -> str:
    """Return what readers of the image are told."""
    when = deletion.done_at or deletion.decided_at
    return f"The image was deleted under retention on {when:%Y-%m-%d} ({deletion.rule})."


def _needed_since(session: Session, line: str, since: Seen) -> set[str]:
    """Return the images of rows that are newer, and of this line's parts that open campaigns or newer reviews are about."""
    in_order = session.get_bind().dialect.name == "sqlite"

    def is_newer(table: type[Chained], last: int, at: Any) -> ColumnElement[bool]:
        newer = table.id > last
        return newer if in_order else newer | ((table.id > last - _UNORDERED) & (at > since.at - _RECENT))

    inspected = is_newer(Inspection, since.inspection, Inspection.inspected_at)
    rejected = is_newer(Rejection, since.rejection, Rejection.rejected_at)
    needed = set(session.scalars(select(Inspection.image).where(inspected)))
    needed |= set(session.scalars(select(Rejection.image).where(rejected)))
    asked = (
        select(CampaignPart.part)
        .join(Campaign, Campaign.id == CampaignPart.campaign_id)
        .where(Campaign.line == line, Campaign.completed_at.is_(None))
    )
    reviewed = select(Review.part).where(Review.line == line, is_newer(Review, since.review, Review.reviewed_at))
    for parts in (asked, reviewed):
        needed |= set(
            session.scalars(select(Inspection.image).where(Inspection.line == line, Inspection.part.in_(parts)))
        )
    return needed


def _states(connection: Connection, images: Sequence[str]) -> list[tuple[str, str]]:
    """Return image and state of deletions, oldest first. Without the ORM: every verdict of the service waits for this."""
    marks = ",".join("?" * len(images))
    query = f"SELECT image, state FROM image_deletions WHERE image IN ({marks}) ORDER BY id"
    rows = connection.exec_driver_sql(chain.statement(connection, query), tuple(images))
    return [(str(image), str(state)) for image, state in rows]


def _blocks(images: Sequence[str]) -> Iterator[Sequence[str]]:
    return (images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE))
