"""The files of an export: CSV with all values as they are hashed, or Parquet with types. Both give back the hashed texts."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, DateTime, Float, Integer, TypeDecorator

from models.errors import BadData
from pipelines.ledger import chain
from pipelines.ledger.tables import Record

if TYPE_CHECKING:
    import pyarrow as pa

CSV, PARQUET = "csv", "parquet"
EMPTY = "empty_columns"  # names of columns with an empty text: CSV writes these and nulls alike
_BLOCK = 20_000  # rows that are written together

Row = Sequence[Any]  # values as the database driver returns them, in the order of the columns


def write(path: Path, record: type[Record], columns: Sequence[str], rows: Iterable[Row]) -> int:
    """Write rows of a table into a CSV or Parquet file, durably. Returns their number.

    Raises BadData for a value that Parquet cannot hold as the type of its column: nobody but a forger has written it.
    """
    count = (_write_parquet if path.suffix == f".{PARQUET}" else _write_csv)(path, record, columns, rows)
    with path.open("rb") as written:
        os.fsync(written.fileno())
    return count


def read(path: Path) -> Iterator[dict[str, str | None]]:
    """Yield rows with the texts that were hashed, by column."""
    return _read_parquet(path) if path.suffix == f".{PARQUET}" else _read_csv(path)


def _write_csv(path: Path, record: type[Record], columns: Sequence[str], rows: Iterable[Row]) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow([*columns, EMPTY])
        for row in rows:
            empty = [name for name, value in zip(columns, row, strict=True) if value == ""]
            writer.writerow([*("" if value is None else _text(value) for value in row), " ".join(empty)])
            count += 1
    return count


def _read_csv(path: Path) -> Iterator[dict[str, str | None]]:
    csv.field_size_limit(2**31 - 1)
    with path.open(newline="", encoding="utf-8") as source:
        for row in csv.DictReader(source):
            empty = (row.pop(EMPTY, None) or "").split()
            yield {name: value if value or name in empty else None for name, value in row.items()}


def _write_parquet(path: Path, record: type[Record], columns: Sequence[str], rows: Iterable[Row]) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = [_kind(record, name) for name in columns]
    schema = pa.schema([(name, arrow) for name, (arrow, _) in zip(columns, kinds, strict=True)])
    remaining, count = iter(rows), 0
    with parquet.ParquetWriter(path, schema) as writer:
        while block := list(islice(remaining, _BLOCK)):
            arrays = [
                pa.array([_typed(row[at], convert, record, name) for row in block], arrow)
                for at, (name, (arrow, convert)) in enumerate(zip(columns, kinds, strict=True))
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(block)
    return count


def _read_parquet(path: Path) -> Iterator[dict[str, str | None]]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as source:
            for batch in source.iter_batches(_BLOCK):
                for row in batch.to_pylist():
                    yield {name: None if value is None else _text(value) for name, value in row.items()}
    except ArrowException as error:
        raise ValueError(str(error)) from error


def _text(value: Any) -> str:
    return value if type(value) is str else chain.as_text(value)


def _kind(record: type[Record], name: str) -> tuple[pa.DataType, Callable[[Any], Any]]:
    """Return the type of a column in Parquet, and what makes it of a value of any database."""
    import pyarrow as pa

    stored = record.__table__.columns[name].type
    stored = stored.impl_instance if isinstance(stored, TypeDecorator) else stored
    if isinstance(stored, DateTime):
        return pa.timestamp("us", "UTC"), _moment
    if isinstance(stored, Boolean):
        return pa.bool_(), bool
    if isinstance(stored, Integer):
        return pa.int64(), int
    return (pa.float64(), float) if isinstance(stored, Float) else (pa.string(), str)


def _moment(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.strptime(value, chain.MOMENT)
    return moment.replace(tzinfo=UTC)


def _typed(value: Any, convert: Callable[[Any], Any], record: type[Record], name: str) -> Any:
    if value is None:
        return None
    try:
        typed = convert(value)
        if _text(typed) == _text(value):
            return typed
    except (ValueError, TypeError):
        pass
    raise BadData(
        f"{record.__tablename__} has a {name} that is no {convert.__name__.lstrip('_')}: {_text(value)[:40]!r}.",
        next_step="defectloop ledger verify names altered rows. Export as CSV, which holds every value as it is.",
    )
