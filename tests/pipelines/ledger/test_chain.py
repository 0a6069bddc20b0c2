"""Whoever changes the ledger behind defectloop's back is found, whatever they change."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Boolean, Float, Integer, create_engine, text

from pipelines.ledger import chain, inspections, requests, verification
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import (
    DriftCheck,
    ImageDeletion,
    PartCompletion,
    Promotion,
    Rejection,
    RetrainingRequest,
    Review,
    Withdrawal,
)
from pipelines.ledger.verification import Verified
from tests.pipelines.ledger.test_ledger import as_left_by_the_first_version, inspection

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
LINE = "widgets"
TABLES = sorted(chain.chained_tables())
ROWS = 3  # of every table


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with three rows of every chained table, and some of another line."""
    path = tmp_path_factory.mktemp("chain") / "ledger.db"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        for number in range(ROWS):
            inspections.add(
                ledger, [inspection(f"r{number}", raw_score=float("inf")), inspection(f"r{number}", line="x")]
            )
            with ledger.writing() as session:
                promotion = Promotion(
                    line=LINE, kind="rollback", version="1", champion_before="2", reasons=["zu spät", number],
                    numbers={"b": float("nan"), "a": 1}, state="done", decided_at=MOMENT,
                )  # fmt: skip
                session.add(promotion)
                session.flush()
                withdrawal = Withdrawal(
                    line=LINE, version="2", artefact_sha256=None, reason="lamp", withdrawn_by=None, withdrawn_at=MOMENT
                )
                withdrawal.promotion_id = promotion.id
                session.add_all([
                    withdrawal,
                    Rejection(request_id=f"q{number}", line=LINE, part="p", source="s", image="cc", reason="cut off",
                              rejected_at=MOMENT),
                    Review(line=LINE, part="p1", campaign_id=None, inspection_id=1, label="good", reviewer=f"lab {number}",
                           comment="line\nfeed", reviewed_at=MOMENT),
                    RetrainingRequest(line=LINE, trigger="manual", event_id=None, state="open", opened_at=MOMENT),
                    DriftCheck(line=LINE, slice=None, checked_at=MOMENT, model_version="1", first_inspection=1,
                               last_inspection=number, n=9, n_reference=9, judged=True, drifted=False, share_drifted=0.5,
                               columns={}, top_descriptors=[], explanation="", report=None, event_id=None),
                    PartCompletion(line=LINE, part="p1", expected=[number], completed_at=MOMENT),
                    ImageDeletion(line=LINE, image="cc", rule="pass", bytes=number, decided_by="cron", decided_at=MOMENT),
                ])  # fmt: skip
        requests.change(ledger, 2, state="failed", outcome="no labels")
    return path


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(template, tmp_path / "ledger.db"))


def tamper(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            assert connection.execute(statement).rowcount, statement


def verified(path: Path, head: str | None = None) -> Verified:
    with Ledger.open(f"sqlite:///{path}") as ledger:
        return verification.verify(ledger, LINE, head)


def test_what_nobody_touched_is_whole(path: Path) -> None:
    found = verified(path)
    assert found.problems == ()
    assert found.rows == ROWS * len(TABLES)
    assert found.entries == found.position == found.rows + 1  # a retraining request was changed


def alterations(table: str, row: int) -> list[str]:
    """Return one statement per column of a table that changes its value in this row."""
    columns = [column for column in chain.chained_tables()[table].__table__.columns if column.name != "id"]
    values = {
        column.name: "7"
        if isinstance(column.type, Integer)
        else "0.125"
        if isinstance(column.type, Float)
        else f"NOT coalesce({column.name}, 0)"
        if isinstance(column.type, Boolean)
        else "'[7]'"
        for column in columns
    }
    return [f'UPDATE {table} SET "{name}" = {value} WHERE id = {row}' for name, value in values.items()]


@pytest.mark.parametrize("table", TABLES)
def test_every_altered_value_of_every_table_is_found(table: str, path: Path) -> None:
    row = {"inspections": 3}.get(table, 2)  # the second inspection is another line's
    for statement in alterations(table, row):
        altered = Path(shutil.copy(path, path.with_name("altered.db")))
        tamper(altered, statement)
        problems = verified(altered).problems
        moved = 'SET "line"' in statement
        expected = f"Row {row} of {table} " + ("is missing" if moved else "was altered")
        assert [text.startswith(expected) for text in problems] == [True], (statement, problems)


@pytest.mark.parametrize("table", TABLES)
def test_missing_inserted_and_exchanged_rows_of_every_table_are_named(table: str, path: Path, tmp_path: Path) -> None:
    row = {"inspections": 3}.get(table, 2)
    columns = [f'"{column.name}"' for column in chain.chained_tables()[table].__table__.columns if column.name != "id"]
    unique = {'"request_id"': "'new'", '"last_inspection"': "99", '"promotion_id"': "99"}
    copied = f"INSERT INTO {table} (id, {', '.join(columns)}) SELECT 99, "
    copied += ", ".join(unique.get(name, name) for name in columns) + f" FROM {table} WHERE id = {row}"
    renumbered = [f"UPDATE {table} SET id = {new} WHERE id = {old}" for old, new in ((row, 98), (1, row), (98, 1))]
    for number, (statements, expected) in enumerate((
        ([f"DELETE FROM {table} WHERE id = {row}"], [f"Row {row} of {table} is missing"]),
        ([copied], [f"Row 99 of {table} was inserted"]),
        (renumbered, [f"Row 1 of {table} was altered", f"Row {row} of {table} was altered"]),
    )):  # fmt: skip
        altered = Path(shutil.copy(path, tmp_path / f"{number}.db"))
        tamper(altered, *statements)
        problems = verified(altered).problems
        assert [text.split(":")[0] for text in problems] == expected


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (["DELETE FROM chain WHERE line = 'widgets' AND position = 5"], "Entries are missing in the chain between 4 and 6"),
        (["DELETE FROM chain WHERE line = 'widgets' AND position = 1"], "Entries are missing in the chain between 0 and 2"),
        (["UPDATE chain SET record_sha256 = '00' WHERE position = 5"], "breaks at entry 5"),
        (["UPDATE chain SET hash = 'ab' WHERE position = 5"], "breaks at entry 5"),
        (["UPDATE chain SET chained_at = '2020-01-01 00:00:00.000000' WHERE position = 5"], "breaks at entry 5"),
        (["UPDATE chain SET record_id = 77 WHERE position = 5"], "breaks at entry 5"),
        (["UPDATE chain SET record = 'others' WHERE position = 5"], "a table 'others' that does not exist"),
        (["UPDATE chain SET line = 'x' WHERE line = 'widgets' AND position = 5"], "missing in the chain between 4 and 6"),
        (
            [
                f"UPDATE chain SET position = {new} WHERE line = 'widgets' AND position = {old}"
                for old, new in ((5, 999), (6, 5), (999, 6))
            ],
            "breaks at entry 5",
        ),
    ],
)  # fmt: skip
def test_a_changed_chain_is_found(statements: list[str], says: str, path: Path) -> None:
    tamper(path, *statements)
    assert any(says in problem for problem in verified(path).problems)


def test_a_row_that_was_altered_with_its_entry_breaks_the_chain(path: Path) -> None:
    tamper(path, "UPDATE reviews SET label = 'defect' WHERE id = 2")
    with create_engine(f"sqlite:///{path}").connect() as connection:
        columns = chain.columns_of(Review)
        [(_, row)] = chain.rows_of(connection, "reviews", columns, "WHERE id = ?", (2,))
        new = chain.row_sha256(columns, row)
    tamper(path, f"UPDATE chain SET record_sha256 = '{new}' WHERE record = 'reviews' AND record_id = 2")
    [problem] = verified(path).problems
    assert "(reviews 2)" in problem


def test_a_tail_that_was_cut_off_is_found_with_a_kept_head_alone(path: Path) -> None:
    kept = verified(path)
    assert verified(path, kept.head.upper()).kept_head_at == kept.position
    with Ledger.open(f"sqlite:///{path}") as ledger:
        inspections.add(ledger, [inspection("later")])
    whole = verified(path, kept.head)
    assert (whole.kept_head_at, whole.problems) == (kept.position, ())
    tamper(path, "DELETE FROM inspections WHERE request_id = 'later'")
    tamper(path, f"DELETE FROM chain WHERE line = 'widgets' AND position = {whole.position}")
    assert verified(path).problems == ()
    [problem] = verified(path, whole.head).problems
    assert "no entry of this chain" in problem


def test_a_row_keeps_its_hash_when_a_later_release_adds_a_column(path: Path) -> None:
    def hashes(columns: chain.Columns) -> list[str]:
        with create_engine(f"sqlite:///{path}").connect() as connection:
            return [chain.row_sha256(columns, row) for _, row in chain.rows_of(connection, "reviews", columns, "", ())]

    columns = chain.columns_of(Review)
    before = hashes(columns)
    tamper_schema = "ALTER TABLE reviews ADD COLUMN later VARCHAR"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(tamper_schema)
    assert hashes(sorted([*columns, ("later", False)])) == before


def test_columns_of_chained_tables_that_later_migrations_add_may_be_null() -> None:
    required = {
        table: {column.name for column in record.__table__.columns if not column.nullable}
        for table, record in chain.chained_tables().items()
    }
    # What was required when the chain came. A new required column would change the hashes of all earlier rows.
    assert {table: len(names) for table, names in required.items()} == {
        "drift_checks": 12,
        "image_deletions": 8,
        "inspections": 16,
        "part_completions": 5,
        "promotions": 8,
        "rejections": 8,
        "retraining_requests": 7,
        "reviews": 8,
        "withdrawals": 6,
    }


def test_a_ledger_of_before_is_chained_with_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    as_left_by_the_first_version(f"sqlite:///{path}")
    found = verified(path)
    assert found.problems == ()
    assert found.rows == found.entries > 10
    tamper(path, "UPDATE inspections SET verdict = 'pass' WHERE id = 3")
    assert verified(path).problems == ("Row 3 of inspections was altered: its hash is not that of its last entry.",)


def test_the_migration_of_a_ledger_of_before_shows_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, int, int]] = []

    @contextlib.contextmanager
    def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda done: shown.append((title, done, total))

    monkeypatch.setattr("pipelines.progress.bar", bar)
    as_left_by_the_first_version(f"sqlite:///{tmp_path / 'ledger.db'}")
    found = verified(tmp_path / "ledger.db")
    assert shown[-1] == ("ledger, chain of line widgets", found.rows, found.rows)


def test_a_transaction_that_fails_leaves_no_entries(path: Path) -> None:
    before = verified(path)
    with Ledger.open(f"sqlite:///{path}") as ledger:
        with contextlib.suppress(RuntimeError), ledger.writing() as session:
            session.add(inspection("half"))
            session.flush()
            raise RuntimeError
        inspections.add(ledger, [inspection("whole")])
    after = verified(path)
    assert (after.problems, after.entries) == ((), before.entries + 1)


def test_the_database_s_own_words_do_not_matter(path: Path) -> None:
    """Times and truth values have the same text in databases that have types for them."""
    assert chain.as_text(datetime(2026, 1, 2, 3, 4, 5)) == "2026-01-02 03:04:05.000000"
    assert (chain.as_text(True), chain.as_text(1), chain.as_text(0.1), chain.as_text(1e22)) == (
        "1",
        "1",
        "0.1",
        "1e+22",
    )
    with create_engine(f"sqlite:///{path}").connect() as connection:
        stored = connection.execute(text("SELECT reviewed_at FROM reviews")).scalars().first()
    assert stored == chain.as_text(MOMENT.replace(tzinfo=None))
