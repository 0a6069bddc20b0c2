"""A ledger in PostgreSQL: chain, concurrent writers, export, search and deletions are those of SQLite."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from pipelines.ledger import chain, deletions, export, inspections, periods, requests, search, undecided, verification
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.periods import Period
from pipelines.ledger.search import Filters
from pipelines.ledger.tables import DriftCheck, Promotion, Rejection, RetrainingRequest, Review
from tests.pipelines.ledger.test_ledger import inspection

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [
    Path(found).parent for found in [shutil.which("initdb")] if found
]
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
LINE = "widgets"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAMS, reason="needs PostgreSQL's server (apt install postgresql)"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    pytest.importorskip("psycopg")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The server refuses to run as root, and the user it runs as cannot read pytest's folders.
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        if as_user:
            shutil.chown(folder, "postgres")

        def run(program: str, *words: str) -> None:
            command = [*as_user, str(PROGRAMS[-1] / program), "-D", f"{folder}/data", *words]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

        run("initdb", "-A", "trust", "-U", "ledger", "-E", "UTF8", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", "-o", options, "-l", f"{folder}/log", "-w", "start")
        try:
            yield f"postgresql+psycopg://ledger@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with create_engine(url).begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    with Ledger.open(url) as opened:
        yield opened


def filled(ledger: Ledger) -> None:
    rows = [inspection(f"r{n}", f"p{n % 3}", image=f"{n}", raw_score=float("inf")) for n in range(12)]
    inspections.add(ledger, [*rows, inspection("x", line="another")])
    with ledger.writing() as session:
        session.add_all([
            Promotion(line=LINE, kind="refuse", version="2", champion_before="1", reasons=["zu spät", 1],
                      numbers={"b": 1.5, "a": 1}, state="done", decided_at=MOMENT),
            Rejection(request_id="q", line=LINE, part="p", source="s", image="cc", reason="cut off", rejected_at=MOMENT),
            Review(line=LINE, part="p1", campaign_id=None, inspection_id=1, label="good", reviewer="lab",
                   comment="line\nfeed", reviewed_at=MOMENT),
            RetrainingRequest(line=LINE, trigger="manual", event_id=None, state="open", opened_at=MOMENT),
            DriftCheck(line=LINE, slice=None, checked_at=MOMENT, model_version="1", first_inspection=1, last_inspection=2,
                       n=9, n_reference=9, judged=True, drifted=False, share_drifted=0.5, columns={"score": {"p": 0.25}},
                       top_descriptors=[], explanation="", report=None, event_id=None),
        ])  # fmt: skip
    requests.change(ledger, 1, state="failed")


def test_the_chain_holds_and_finds_what_was_altered(ledger: Ledger) -> None:
    filled(ledger)
    found = verification.verify(ledger, LINE)
    assert (found.problems, found.rows, found.entries) == ((), 17, 18)
    with ledger.writing() as session:
        session.connection().execute(text("UPDATE inspections SET score = 0.5 WHERE id = 3"))
    [problem] = verification.verify(ledger, LINE).problems
    assert problem.startswith("Row 3 of inspections was altered")


def test_concurrent_writers_store_each_request_once_in_one_chain(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda n: inspections.add_once(ledger, [inspection(f"c{n // 2}")]), range(80)))
    assert len({record.id for one in stored for record in one.values()}) == 40
    found = verification.verify(ledger, LINE)
    assert (found.problems, found.rows, found.entries) == ((), 40, 40)


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_an_export_is_verified_apart_from_the_ledger(ledger: Ledger, tmp_path: Path, format: str) -> None:
    filled(ledger)
    done = export.export(ledger, LINE, MOMENT - timedelta(days=1), MOMENT + timedelta(days=1), tmp_path / "a", format)
    assert sum(done.rows.values()) == 17
    assert export.verify(tmp_path / "a").problems == ()
    assert set(done.rows) == set(chain.chained_tables())


def test_searches_and_counts_are_those_of_sqlite(ledger: Ledger, tmp_path: Path) -> None:
    period = Period(LINE, MOMENT - timedelta(days=1), MOMENT + timedelta(days=1))

    def answers(of: Ledger) -> list[object]:
        asked = (Filters(), Filters(verdict="review"), Filters(part="p1"), Filters(slice="none"))
        waits = undecided.parts(of, LINE, 50)
        return [
            *([item.request_id for item in search.search(of, LINE, one).inspections] for one in asked),
            *(count(of, period) for count in (periods.verdicts, periods.uses, periods.answers, periods.rejections)),
            (waits.total, waits.deleted, [item.part for item in waits.parts]),
            inspections.part_verdicts(of, LINE),
        ]

    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as other:
        filled(ledger)
        filled(other)
        assert answers(ledger) == answers(other)


def test_an_image_is_deleted_unless_something_newer_needs_it(ledger: Ledger) -> None:
    filled(ledger)
    inspections.add(ledger, [inspection("now", image="4", inspected_at=datetime.now(UTC))])
    seen = deletions.seen(ledger)
    inspections.add(ledger, [inspection("later", image="2")])
    wanted = dict.fromkeys(("0", "2", "4"), ("pass: 30 days", 7))  # the row of 4 may have been committed late
    assert deletions.decide(ledger, LINE, wanted, "cron", seen) == ["0"]
    deletions.done(ledger, LINE, ["0"])
    assert deletions.newest(ledger, ["0", "1"]) == {"0": "deleted"}
    assert deletions.total(ledger, LINE).bytes == 7
    assert verification.verify(ledger, LINE).problems == ()


def test_an_image_whose_record_is_committed_while_its_deletion_is_decided_stays(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(ledger)
    seen = deletions.seen(ledger)
    looked = deletions._needed_since

    def and_then_another_commits(*arguments: object) -> set[str]:
        needed = looked(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(deletions, "_needed_since", looked)
        inspections.add(ledger, [inspection("meanwhile", image="0", line="another")])
        return needed

    monkeypatch.setattr(deletions, "_needed_since", and_then_another_commits)
    assert deletions.decide(ledger, LINE, {"0": ("pass: 30 days", 7)}, "cron", seen) == []
    assert deletions.newest(ledger, ["0"]) == {"0": "kept"}
    assert verification.verify(ledger, LINE).problems == ()
