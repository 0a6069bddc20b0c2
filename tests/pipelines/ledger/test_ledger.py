from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from models.errors import BadInput, BadParams, NotReady, Unreachable
from pipelines.ledger import campaigns, inspections, part_verdicts, promotions, reviews, withdrawals
from pipelines.ledger.ledger import HEAD, MIGRATIONS, Ledger
from pipelines.ledger.part_verdicts import SEVERITY
from pipelines.ledger.tables import Inspection, Promotion, Record


def inspection(request_id: str, part: str = "p1", **changes: object) -> Inspection:
    values = {
        "request_id": request_id,
        "line": "widgets",
        "part": part,
        "slice": "matt",
        "source": "test",
        "image": "ab" * 32,
        "captured_at": None,
        "inspected_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "model_version": "1",
        "artefact_sha256": "cd" * 32,
        "score": 0.25,
        "raw_score": -1.0,
        "verdict": "review",
        "latency_ms": 3.5,
        "descriptors": {"brightness": 0.5},
        "regions": [],
    }
    return Inspection(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def test_what_was_added_is_there_after_reopening(url: str) -> None:
    with Ledger.open(url) as ledger:
        inspections.add(ledger, [inspection("a")])
    with Ledger.open(url) as ledger:
        found = inspections.of_part(ledger, "widgets", "p1")[0]
    assert found.descriptors == {"brightness": 0.5}
    assert found.inspected_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_block_is_written_whole_or_not_at_all(url: str) -> None:
    with Ledger.open(url) as ledger:
        inspections.add(ledger, [inspection("a")])
        with pytest.raises(IntegrityError):
            inspections.add(ledger, [inspection("b"), inspection("a")])
        assert set(inspections.requested(ledger, "widgets", ["a", "b"])) == {"a"}


def test_writers_on_many_threads_lose_nothing(url: str) -> None:
    with Ledger.open(url) as ledger:

        def write(worker: int) -> None:
            for number in range(20):
                inspections.add(ledger, [inspection(f"{worker}-{number}", f"part {worker}-{number}")])

        threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert inspections.count_parts(ledger, "widgets") == {"review": 80}


def test_sqlite_runs_in_wal_mode(url: str) -> None:
    Ledger.open(url)
    with create_engine(url).connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_sqlite_is_durable_at_each_commit(url: str) -> None:
    with Ledger.open(url) as ledger, ledger.reading() as session:
        assert session.scalar(text("PRAGMA synchronous")) == 2  # FULL: a commit is on the disk before it returns


def test_migrations_lead_to_exactly_the_tables_that_the_code_uses(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    Ledger.open(url)
    with create_engine(url).connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), Record.metadata)
    assert difference == []


def test_the_newest_migration_is_the_one_that_the_ledger_asks_for() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_a_database_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(Unreachable, match="ledger"):
        Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")


def decided(kind: str, version: str, state: str = "done", **numbers: str) -> Promotion:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    return Promotion(
        line="widgets",
        kind=kind,
        version=version,
        champion_before=None,
        reasons=[],
        numbers=numbers,
        state=state,
        decided_at=moment,
    )


def test_the_champion_of_a_rollback_is_known_with_the_data_it_was_promoted_for(url: str) -> None:
    with Ledger.open(url) as ledger:
        assert promotions.champion(ledger, "widgets") is None
        for decision in (
            decided("promote", "1", data_hash="first"),
            decided("promote", "2", data_hash="second"),
            decided("rollback", "1"),
            decided("refuse", "3", data_hash="third"),
            decided("promote", "4", state="pending", data_hash="fourth"),
        ):
            promotions.add(ledger, decision)
        champion = promotions.champion(ledger, "widgets")
        assert champion is not None
        assert champion.numbers["data_hash"] == "first"


def as_left_by_the_first_version(url: str) -> None:
    """A ledger of version 0001 with two inspections of one folder, two of a station, a campaign, a review and two
    rollbacks, the first of which was promoted again."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(url)
    inspected = (
        "INSERT INTO inspections (id, request_id, line, part, source, image, inspected_at, model_version, "
        "artefact_sha256, score, raw_score, verdict, latency_ms, descriptors, regions) VALUES ({}, '{}', 'widgets', "
        "'{}', '{}', '{}', '2026-01-02 03:04:05', '1', 'cd', 0.25, -1, 'review', 3.5, '{{}}', '[]')"
    )
    decided_at_first = (
        "INSERT INTO promotions (id, line, kind, version, champion_before, reasons, numbers, state, decided_at) VALUES "
        "({}, 'widgets', '{}', '{}', {}, '[]', '{{}}', 'done', '2026-01-02 03:04:05')"
    )
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with engine.begin() as connection:
        for statement in (
            inspected.format(1, "/line/monday/good/001.png", "001", "/line/monday", "aa"),
            inspected.format(2, "/line/monday/good/002.png", "002", "/line/monday", "aa"),
            inspected.format(3, "press-4711", "4711", "press", "bb"),
            "INSERT INTO rejections (id, request_id, line, part, source, image, reason, rejected_at) VALUES "
            "(1, '/line/monday/cut.png', 'widgets', 'cut', '/line/monday', 'cc', 'cut off', '2026-01-02 03:04:05')",
            "INSERT INTO campaigns (id, line, wanted, opened_at) VALUES (1, 'widgets', 1, '2026-01-02 03:04:05')",
            "INSERT INTO campaign_parts (campaign_id, part, inspection_id, chosen_for) VALUES (1, '4711', 3, 'random')",
            "INSERT INTO reviews (id, line, part, campaign_id, inspection_id, label, reviewer, reviewed_at) VALUES "
            "(1, 'widgets', '4711', 1, 3, 'good', 'lab', '2026-01-02 03:04:05')",
            decided_at_first.format(1, "promote", "1", "NULL"),
            decided_at_first.format(2, "promote", "2", "'1'"),
            decided_at_first.format(3, "rollback", "1", "'2'"),
            decided_at_first.format(4, "promote", "2", "'1'"),
            decided_at_first.format(5, "promote", "3", "'2'"),
            decided_at_first.format(6, "rollback", "1", "'3'"),
            inspected.format(4, "press-4712", "4712", "press", "ee").replace("'1', 'cd'", "'3', 'ef'"),
        ):
            connection.execute(text(statement))
    engine.dispose()


def test_a_ledger_of_the_first_version_keeps_everything_and_knows_its_replays_by_their_bytes(url: str) -> None:
    as_left_by_the_first_version(url)
    with Ledger.open(url) as ledger:
        kept = {
            item.id: item
            for number in ("001", "002", "4711")
            for item in inspections.of_part(ledger, "widgets", number)
        }
        assert [kept[number].request_id for number in (1, 2, 3)] == [
            "sha256:aa",
            "/line/monday/good/002.png",  # the same bytes once more: the first one is the request
            "press-4711",
        ]
        assert [kept[number].file_name for number in (1, 2, 3)] == ["good/001.png", "good/002.png", None]
        assert kept[1].view is None
        assert set(inspections.requested(ledger, "widgets", ["sha256:cc"])) == {"sha256:cc"}
        assert [review.inspection_id for review in reviews.of_part(ledger, "widgets", "4711")] == [3]
        assert campaigns.waiting(ledger, "widgets") == []
        inspections.add(ledger, [inspection("press-4711", line="gadgets")])
        with pytest.raises(IntegrityError):
            inspections.add(ledger, [inspection("press-4711")])
        with pytest.raises(IntegrityError, match="FOREIGN KEY"), ledger.writing() as session:
            session.execute(text("DELETE FROM inspections WHERE id = 3"))


def test_a_request_is_known_on_its_own_line_alone(url: str) -> None:
    with Ledger.open(url) as ledger:
        inspections.add(ledger, [inspection("a"), inspection("a", line="gadgets")])
        assert inspections.requested(ledger, "widgets", ["a"])["a"].line == "widgets"
        assert inspections.requested(ledger, "others", ["a"]) == {}


def test_of_two_records_of_one_request_the_first_stands(url: str) -> None:
    with Ledger.open(url) as ledger:
        first = inspections.add_once(ledger, [inspection("a", "p1"), inspection("a", "p2"), inspection("b")])
        assert {name: record.part for name, record in first.items()} == {"a": "p1", "b": "p1"}
        second = inspections.add_once(ledger, [inspection("b", "late"), inspection("c")])
        assert {name: record.part for name, record in second.items()} == {"b": "p1", "c": "p1"}
        assert len(inspections.latest(ledger, "widgets", 10)) == 3


def test_writers_of_one_request_on_many_threads_all_get_the_same_inspection(url: str) -> None:
    with Ledger.open(url) as ledger:
        got: list[int] = []

        def write() -> None:
            got.append(inspections.add_once(ledger, [inspection("a")])["a"].id)

        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 8
        assert len(set(got)) == 1


@pytest.fixture(scope="module")
def one_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('one')}/ledger.db") as ledger:
        yield ledger


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(*map(st.sampled_from, (("p1", "p2"), ("top", "side", None), ("aa", "bb"), tuple(SEVERITY)))),
        min_size=1,
    )
)
def test_the_database_gives_the_part_verdicts_that_the_rule_gives(
    one_ledger: Ledger, seen: list[tuple[str, str | None, str, str]]
) -> None:
    line = uuid.uuid4().hex  # the examples share a ledger, which takes longer to make than to use, and no line
    records = [
        inspection(str(number), part, line=line, view=view, image=image, verdict=verdict)
        for number, (part, view, image, verdict) in enumerate(seen)
    ]
    inspections.add(one_ledger, records)
    ruled = {one.part: one.verdict.value for one in part_verdicts.by_part(records)}
    assert inspections.part_verdicts(one_ledger, line) == ruled
    assert inspections.part_verdicts(one_ledger, line, ["p1"]) == {p: v for p, v in ruled.items() if p == "p1"}


def test_the_latest_inspection_of_each_view_counts_and_the_worst_of_them_is_the_part_s() -> None:
    seen = [
        inspection("1", view="top", verdict="fail", score=0.9),
        inspection("2", view="top", verdict="pass", score=0.1),
        inspection("3", view="side", verdict="review", score=0.5),
        inspection("4", view=None, image="aa", verdict="pass", score=0.2),
    ]
    for number, one in enumerate(seen):
        one.id = number
    found = part_verdicts.of(reversed(seen))
    assert (found.verdict, found.score, len(found.views)) == ("review", 0.5, 3)


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["deleted", "emptied"])
def test_a_ledger_that_vanished_is_not_silently_begun_anew(url: str, tmp_path: Path, lose) -> None:
    with Ledger.open(url) as ledger:
        inspections.add(ledger, [inspection("a")])
    for path in tmp_path.glob("ledger.db-*"):
        path.unlink()
    lose(tmp_path / "ledger.db")
    with pytest.raises(NotReady, match="missing or empty") as caught:
        Ledger.open(url)
    assert "ledger.db.created" in caught.value.next_step
    (tmp_path / "ledger.db.created").unlink()
    with Ledger.open(url) as ledger:
        assert inspections.requested(ledger, "widgets", ["a"]) == {}


def test_a_ledger_of_a_newer_version_is_left_alone(url: str) -> None:
    Ledger.open(url)
    with create_engine(url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NotReady, match="newer defectloop"):
        Ledger.open(url)


def test_a_ledger_address_that_is_none_is_named() -> None:
    with pytest.raises(BadParams, match="not a database address"):
        Ledger.open("/var/lib/ledger.db")


def test_a_rollback_of_the_first_version_withdraws_what_did_not_come_back(url: str) -> None:
    as_left_by_the_first_version(url)
    with Ledger.open(url) as ledger:
        kept = withdrawals.standing(ledger, "widgets")
        assert [(item.version, item.artefact_sha256, item.promotion_id) for item in kept] == [("3", "ef", 6)]
        assert withdrawals.of(ledger, "widgets", "9", "ef") is not None
        assert withdrawals.of(ledger, "widgets", "2", "cd") is None


def test_a_withdrawal_is_lifted_by_name_and_for_a_reason(url: str) -> None:
    as_left_by_the_first_version(url)
    with Ledger.open(url) as ledger:
        withdrawals.lift(ledger, "widgets", "3", "ef", "quality lab", "the lamp was broken")
        assert withdrawals.standing(ledger, "widgets") == []
        kept = withdrawals.of_rollback(ledger, 6)
        assert kept is not None
        assert (kept.lifted_by, kept.lifted_for) == ("quality lab", "the lamp was broken")


def test_an_unknown_part_is_answered_with_parts_that_are_called_nearly_so(url: str) -> None:
    with Ledger.open(url) as ledger:
        inspections.add(ledger, [inspection("r1", part="cell0018"), inspection("r2", part="cell0108")])
        assert inspections.an_inspected_part(ledger, "widgets") == "cell0108"
        with pytest.raises(BadInput, match="never inspected") as unknown:
            inspections.part_called(ledger, "widgets", "cell0008")
        assert set(unknown.value.next_step.removeprefix("Did you mean ")[:-1].split(", ")) == {"cell0018", "cell0108"}
        with pytest.raises(BadInput) as unknown:
            inspections.part_called(ledger, "widgets", "X-17")
        assert unknown.value.next_step == "Check the serial number."
