"""A ledger of an earlier version keeps its reviews, its requests and the drifts that nobody heard of."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from pipelines.ledger import campaigns, drift_checks, events, requests, reviews
from pipelines.ledger.ledger import MIGRATIONS, Ledger


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def old_ledger(url: str) -> None:
    """What version 0001 left: a campaign with a judged part, a request that learned from it, and two drifts."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    moment = "2026-01-02 03:04:05.000000"
    with create_engine(url).connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table, values in {
            "inspections": f"(1,'r1','widgets','p1','matt','test','aa',NULL,'{moment}','1','cd',0,0,'review',3,'{{}}','[]')",
            "campaigns": f"(1,'widgets',1,'{moment}','{moment}')",
            "campaign_parts": "(1,'p1',1,'random')",
            "reviews": f"(1,'widgets','p1',1,1,'good','lab','sure','{moment}')",
            "retraining_requests": f"(1,'widgets','manual',NULL,'promoted','{moment}','{moment}',1,NULL,1,'s','2','ok')",
        }.items():
            connection.execute(text(f"INSERT INTO {table} VALUES {values}"))
        for number, announced in ((1, f"'{moment}'"), (2, "NULL")):
            connection.execute(
                text(
                    f"INSERT INTO drift_checks VALUES ({number},'widgets',NULL,'{moment}','1',1,{number},9,9,1,1,0.5,"
                    f"'{{}}','[]','Drift.',NULL,'event-{number}',{announced})"
                )
            )
        connection.commit()


def test_a_ledger_of_the_first_version_keeps_what_it_holds(url: str) -> None:
    old_ledger(url)
    with Ledger.open(url) as ledger:
        ((review, item),) = reviews.latest(ledger, "widgets")
        assert (review.label, review.comment, review.answer, review.images, item.part) == (
            "good",
            "sure",
            "label",
            {},
            "p1",
        )
        assert requests.get(ledger, 1).last_review == 1
        assert reviews.unlearned(ledger, "widgets") == 0
        assert [check.event_id for check in drift_checks.all_of(ledger, "widgets")] == ["event-1", "event-2"]
        (waits,) = events.waiting(ledger, "widgets")
        assert (waits.id, waits.payload["drift_check"]) == ("event-2", 2)
        assert waits.happened_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert campaigns.progress(ledger, 1).labelled == 1


def test_a_ledger_goes_back_to_the_version_before_with_its_labels(url: str) -> None:
    from alembic import command
    from alembic.config import Config

    old_ledger(url)
    Ledger.open(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with create_engine(url).connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        assert connection.execute(text("SELECT label FROM reviews")).scalars().all() == ["good"]
        unannounced = text("SELECT event_id FROM drift_checks WHERE announced_at IS NULL")
        assert connection.execute(unannounced).scalars().all() == ["event-2"]
