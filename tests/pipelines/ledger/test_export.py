from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from models.errors import BadData, BadInput
from pipelines.ledger import chain, export, inspections, requests
from pipelines.ledger.export import Exported
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import RetrainingRequest
from tests.pipelines.ledger.test_ledger import inspection

START = datetime(2026, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(params=["csv"])
def exported(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        for number in range(4):
            odd = {"part": 'line\r\nfeed, "quoted"', "file_name": "" if number == 1 else None}
            inspections.add(ledger, [inspection(str(number), inspected_at=START + number * DAY, **odd)])  # type: ignore[arg-type]
        with ledger.writing() as session:
            session.add(
                RetrainingRequest(line="widgets", trigger="manual", event_id=None, state="open", opened_at=START)
            )
        requests.change(ledger, 1, state="failed")
        done = export.export(ledger, "widgets", START + DAY, START + 3 * DAY, tmp_path / "audit", request.param)
    assert isinstance(done, Exported)
    assert {table: n for table, n in done.rows.items() if n} == {"inspections": 2}
    return tmp_path / "audit"


@pytest.mark.parametrize("exported", ["csv", "parquet"], indirect=True)
def test_an_export_is_verified_apart_from_the_ledger(exported: Path) -> None:
    found = export.verify(exported)
    assert (found.problems, found.rows, found.entries) == ((), 2, 6)
    assert export.verify(exported, found.head).kept_head_at == 6


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("inspections.csv", ",0.25,", ",0.75,", "Row 2 of inspections was altered"),
        ("inspections.csv", ",file_name\r\n", ",\r\n", "Row 2 of inspections was altered"),
        ("chain.csv", ",retraining_requests,1,", ",retraining_requests,2,", "breaks at entry 5"),
        ("manifest.json", '"position": 6', '"position": 5', "does not end at the head"),
        ("manifest.json", '"inspections": 2', '"inspections": 3', "has 2 rows; the manifest says 3"),
    ],
)
def test_a_changed_export_is_found(exported: Path, name: str, old: str, new: str, says: str) -> None:
    path = exported / name
    content = path.read_bytes().decode()
    assert old in content
    path.write_bytes(content.replace(old, new, 1).encode())
    assert any(says in problem for problem in export.verify(exported).problems)


@pytest.mark.parametrize("exported", ["parquet"], indirect=True)
def test_a_changed_value_in_parquet_is_found(exported: Path) -> None:
    path = exported / "inspections.parquet"
    table = parquet.read_table(path)
    assert (table.schema.field("score").type, str(table.schema.field("inspected_at").type)) == (
        pa.float64(),
        "timestamp[us, tz=UTC]",
    )
    at = table.schema.get_field_index("verdict")
    parquet.write_table(table.set_column(at, "verdict", pa.array(["pass", table["verdict"][1].as_py()])), path)
    [problem] = export.verify(exported).problems
    assert problem.startswith("Row 2 of inspections was altered")


def test_a_value_that_parquet_cannot_hold_is_named_and_csv_holds_it(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        inspections.add(ledger, [inspection("1", inspected_at=START)])
        with sqlite3.connect(tmp_path / "ledger.db") as forged:
            forged.execute("UPDATE inspections SET score = 'high'")
        with pytest.raises(BadData, match="inspections has a score that is no float: 'high'"):
            export.export(ledger, "widgets", START, START + DAY, tmp_path / "a", "parquet")
        export.export(ledger, "widgets", START, START + DAY, tmp_path / "b")
    assert export.verify(tmp_path / "b").problems


def test_an_export_that_is_not_complete_is_none(exported: Path, tmp_path: Path) -> None:
    (exported / "manifest.json").unlink()
    with pytest.raises(BadData, match="no complete export"):
        export.verify(exported)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger, pytest.raises(BadInput, match="not an empty"):
        export.export(ledger, "widgets", START, START + DAY, exported)


def test_every_chained_table_is_exported_by_a_time_of_its_own() -> None:
    assert set(export.TIMES) == set(chain.chained_tables())
    for table, record in chain.chained_tables().items():
        assert not record.__table__.columns[export.TIMES[table]].nullable
