"""Inserts new records of chained tables without the ORM's unit of work, a third of the time that storing a verdict took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache

from sqlalchemy import Insert
from sqlalchemy.orm import Session

from pipelines.ledger import chain
from pipelines.ledger.tables import Chained


def insert(session: Session, records: Iterable[Chained]) -> None:
    """Insert records in the transaction of `Ledger.writing`, and set their ids."""
    by_table: dict[type[Chained], list[Chained]] = defaultdict(list)
    for record in records:
        by_table[type(record)].append(record)
    for table, new in by_table.items():
        statement, names = _statement(table)
        values = [{name: getattr(record, name) for name in names} for record in new]
        for record, number in zip(new, session.connection().execute(statement, values).scalars(), strict=True):
            record.id = number
            chain.touch(session, record)


@cache
def _statement(table: type[Chained]) -> tuple[Insert, tuple[str, ...]]:
    columns = table.__table__.columns
    statement = table.__table__.insert().returning(columns["id"], sort_by_parameter_order=True)  # type: ignore[attr-defined]
    return statement, tuple(column.name for column in columns if column.name != "id")
