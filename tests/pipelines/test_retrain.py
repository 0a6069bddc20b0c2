from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.params import Retrain
from pipelines.ledger import requests
from pipelines.ledger.ledger import Ledger
from pipelines.retrain import Reason, request

RULES = Retrain(labels=10, wait_for_labels_s=0, cooldown_minutes=60, max_per_day=2)


@pytest.fixture
def ledger(tmp_path: Path):  # type: ignore[no-untyped-def]
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def ask(ledger: Ledger, event: str | None, reason: Reason = Reason.DRIFT):  # type: ignore[no-untyped-def]
    return request(ledger, "widgets", RULES, reason=reason, trigger=reason.value, event_id=event, flow_run_id=None)


def close(ledger: Ledger, number: int, ago: timedelta) -> None:
    moment = datetime.now(UTC) - ago
    requests.change(ledger, number, state="promoted", closed_at=moment, opened_at=moment)


def test_the_same_event_twice_is_one_request(ledger: Ledger) -> None:
    assert ask(ledger, "a").id == ask(ledger, "a").id


def test_a_second_drift_joins_the_request_that_is_open(ledger: Ledger) -> None:
    assert ask(ledger, "a").id == ask(ledger, "b").id


def test_a_drift_within_the_cool_down_is_recorded_and_declined(ledger: Ledger) -> None:
    close(ledger, ask(ledger, "a").id, timedelta(minutes=10))
    declined = ask(ledger, "b")
    assert declined.state == "declined"
    assert "cool-down" in declined.outcome


def test_a_drift_after_the_cool_down_is_taken_up(ledger: Ledger) -> None:
    first = ask(ledger, "a").id
    close(ledger, first, timedelta(minutes=61))
    second = ask(ledger, "b")
    assert (second.state, second.id) == ("open", first + 1)


def test_the_daily_budget_holds(ledger: Ledger) -> None:
    for event in ("a", "b"):
        close(ledger, ask(ledger, event).id, timedelta(hours=2))
    assert "max_per_day" in ask(ledger, "c").outcome


def test_a_person_is_bound_by_neither(ledger: Ledger) -> None:
    close(ledger, ask(ledger, "a").id, timedelta(0))
    assert ask(ledger, None, Reason.PERSON).state == "open"


def test_labels_go_on_with_an_open_request_and_open_none(ledger: Ledger) -> None:
    assert ask(ledger, "labels-1", Reason.LABELS).state == "declined"
    first = ask(ledger, "a")
    assert ask(ledger, "labels-2", Reason.LABELS).id == first.id
