"""What the ledger says of a period (`until` excluded), counted in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, case, func, select

from pipelines.ledger import deletions, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.part_verdicts import SEVERITY
from pipelines.ledger.tables import (
    Chained,
    DriftCheck,
    ImageDeletion,
    Inspection,
    Promotion,
    Rejection,
    RetrainingRequest,
    Review,
    Withdrawal,
)

Row = TypeVar("Row", bound=Chained)


@dataclass(frozen=True)
class Period:
    """Both times need a zone."""

    line: str
    since: datetime
    until: datetime

    def of(self, table: type[Chained], at: Any) -> tuple[ColumnElement[bool], ...]:
        """Return the conditions for the rows of this period. `at` is the time of a row."""
        return table.line == self.line, at >= self.since, at < self.until


@dataclass(frozen=True)
class Use:
    """What one version inspected with one pair of thresholds; these are None for inspections of older releases."""

    version: str
    artefact_sha256: str
    pass_below: float | None
    fail_from: float | None
    first: datetime
    last: datetime
    images: int
    parts: int


@dataclass(frozen=True)
class Answers:
    """Answers of one reviewer."""

    reviewer: str
    good: int
    defect: int
    cant_say: int
    skipped: int
    parts: int


@dataclass(frozen=True)
class Deleted:
    rule: str
    by: str
    images: int
    bytes: int


def verdicts(ledger: Ledger, period: Period) -> dict[str, int]:
    """Return the number of parts by verdict, from their inspections in the period alone. The rule of `part_verdicts`."""
    unnamed = case((Inspection.view.is_(None), Inspection.image), else_=None)
    latest = select(func.max(Inspection.id)).where(*period.of(Inspection, Inspection.inspected_at))
    latest = latest.group_by(Inspection.part, Inspection.view, unnamed)
    severity = func.max(case(SEVERITY, value=Inspection.verdict)).label("severity")
    of_part = select(severity).where(Inspection.id.in_(latest)).group_by(Inspection.part).subquery()
    query = select(of_part.c.severity, func.count()).group_by(of_part.c.severity)
    with ledger.reading() as session:
        counts = {int(number): int(count) for number, count in session.execute(query)}
    return {verdict: counts.get(number, 0) for verdict, number in SEVERITY.items()}


def uses(ledger: Ledger, period: Period) -> list[Use]:
    """Return which versions inspected with which thresholds, in the order of their first inspection."""
    by = (Inspection.model_version, Inspection.artefact_sha256, Inspection.pass_below, Inspection.fail_from)
    first = func.min(Inspection.inspected_at)
    query = (
        select(*by, first, func.max(Inspection.inspected_at), func.count(), func.count(func.distinct(Inspection.part)))
        .where(*period.of(Inspection, Inspection.inspected_at))
        .group_by(*by)
        .order_by(first)
    )
    with ledger.reading() as session:
        return [Use(*row) for row in session.execute(query)]


def rejections(ledger: Ledger, period: Period) -> list[tuple[str, int]]:
    """Return the reasons of rejections with their numbers, the most frequent first."""
    query = (
        select(Rejection.reason, func.count())
        .where(*period.of(Rejection, Rejection.rejected_at))
        .group_by(Rejection.reason)
        .order_by(func.count().desc(), Rejection.reason)
    )
    with ledger.reading() as session:
        return [(str(reason), int(count)) for reason, count in session.execute(query)]


def answers(ledger: Ledger, period: Period) -> list[Answers]:
    """Return what each reviewer answered, the most active first."""

    def number(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.sum(case((condition, 1), else_=0))

    query = (
        select(
            Review.reviewer,
            number(Review.label == "good"),
            number(Review.label == "defect"),
            number(Review.answer == reviews.CANT_SAY),
            number(Review.answer == reviews.SKIP),
            func.count(func.distinct(Review.part)),
        )
        .where(*period.of(Review, Review.reviewed_at))
        .group_by(Review.reviewer)
        .order_by(func.count().desc(), Review.reviewer)
    )
    with ledger.reading() as session:
        return [Answers(str(row[0]), *map(int, row[1:])) for row in session.execute(query)]


def deleted(ledger: Ledger, period: Period) -> list[Deleted]:
    """Return the deletions of images under retention, by rule and by who decided them."""
    by = (ImageDeletion.rule, ImageDeletion.decided_by)
    query = (
        select(*by, func.count(), func.sum(ImageDeletion.bytes))
        .where(*period.of(ImageDeletion, ImageDeletion.decided_at), ImageDeletion.state == deletions.DELETED)
        .group_by(*by)
        .order_by(*by)
    )
    with ledger.reading() as session:
        return [Deleted(*row) for row in session.execute(query)]


def decisions(ledger: Ledger, period: Period) -> list[Promotion]:
    return _rows(ledger, Promotion, period.of(Promotion, Promotion.decided_at))


def withdrawals(ledger: Ledger, period: Period) -> list[Withdrawal]:
    """Return the withdrawals that were made or lifted in the period."""
    made = period.of(Withdrawal, Withdrawal.withdrawn_at)
    lifted = period.of(Withdrawal, Withdrawal.lifted_at)
    rows = [*_rows(ledger, Withdrawal, made), *_rows(ledger, Withdrawal, lifted)]
    return sorted({row.id: row for row in rows}.values(), key=lambda row: row.id)


def drift_checks(ledger: Ledger, period: Period) -> list[DriftCheck]:
    return _rows(ledger, DriftCheck, period.of(DriftCheck, DriftCheck.checked_at))


def retrainings(ledger: Ledger, period: Period) -> list[RetrainingRequest]:
    return _rows(ledger, RetrainingRequest, period.of(RetrainingRequest, RetrainingRequest.opened_at))


def _rows(ledger: Ledger, table: type[Row], conditions: Sequence[ColumnElement[bool]]) -> list[Row]:
    with ledger.reading() as session:
        return list(session.scalars(select(table).where(*conditions).order_by(table.id)))
