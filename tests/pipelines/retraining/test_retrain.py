from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.errors import BadInput
from models.params import Retrain
from pipelines.ledger import campaigns, events, inspections, requests
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, Event, now
from pipelines.retraining.policy import Reason
from pipelines.retraining.retrain import request
from pipelines.review import answers, campaign
from tests.pipelines.ledger.test_ledger import inspection

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


def test_two_runs_of_one_request_at_once_ask_people_once(ledger: Ledger) -> None:
    asking = ask(ledger, "a")
    inspections.add(ledger, [inspection(f"r{n}", f"p{n}") for n in range(3)])
    chosen = [(item, "random") for item in inspections.latest(ledger, "widgets", 3)]
    first = campaigns.add(ledger, "widgets", chosen, asking.id)
    second = campaigns.add(ledger, "widgets", chosen, asking.id)
    assert (second.id, len(campaigns.open_ones(ledger, "widgets"))) == (first.id, 1)


def test_a_second_drift_joins_the_request_that_is_open(ledger: Ledger) -> None:
    assert ask(ledger, "a").id == ask(ledger, "b").id


def test_a_drift_within_the_cool_down_is_recorded_and_declined(ledger: Ledger) -> None:
    close(ledger, ask(ledger, "a").id, timedelta(minutes=10))
    declined = ask(ledger, "b")
    assert declined.state == "cancelled"
    assert "cool-down" in declined.outcome


def test_a_drift_after_the_cool_down_is_taken_up(ledger: Ledger) -> None:
    first = ask(ledger, "a").id
    close(ledger, first, timedelta(minutes=61))
    second = ask(ledger, "b")
    assert (second.state, second.id) == ("requested", first + 1)


def test_the_daily_budget_holds(ledger: Ledger) -> None:
    for event in ("a", "b"):
        close(ledger, ask(ledger, event).id, timedelta(hours=2))
    assert "max_per_day" in ask(ledger, "c").outcome


def test_a_person_is_bound_by_neither(ledger: Ledger) -> None:
    close(ledger, ask(ledger, "a").id, timedelta(0))
    assert ask(ledger, None, Reason.PERSON).state == "requested"


def test_labels_go_on_with_an_open_request_and_open_none(ledger: Ledger) -> None:
    assert ask(ledger, "labels-1", Reason.LABELS).state == "cancelled"
    first = ask(ledger, "a")
    assert ask(ledger, "labels-2", Reason.LABELS).id == first.id


def drift(ledger: Ledger, event_id: str) -> None:
    with ledger.writing() as session:
        session.add(
            Event(id=event_id, line="widgets", name=events.DRIFT_DETECTED, payload={}, happened_at=now(), sent_at=now())
        )


def ask_about(ledger: Ledger, *parts: str, request_id: int | None = None) -> Campaign:
    """A campaign about new parts, which the request waits for."""
    chosen = []
    for part in parts:
        inspections.add(ledger, [inspection(f"request-{part}", part)])
        chosen.append((inspections.of_part(ledger, "widgets", part)[-1], "random"))
    return campaigns.add(ledger, "widgets", chosen, request_id)


def waiting(ledger: Ledger) -> list[str]:
    return [event.id for event in events.waiting(ledger, "widgets")]


def state(ledger: Ledger, number: int) -> str:
    return requests.get(ledger, number).state


def test_an_event_that_no_request_answers_for_is_kept_although_it_was_sent(ledger: Ledger) -> None:
    drift(ledger, "a")
    assert waiting(ledger) == ["a"]
    ask(ledger, "a")
    ask_about(ledger, "p", request_id=1)
    assert waiting(ledger) == []


def test_a_request_takes_up_every_event_that_waits_and_each_leads_to_it(ledger: Ledger) -> None:
    drift(ledger, "a")
    drift(ledger, "b")
    number = ask(ledger, None, Reason.PERSON).id
    close(ledger, number, timedelta(minutes=1))
    assert waiting(ledger) == []
    assert [ask(ledger, event).id for event in ("a", "b")] == [number, number]


def test_a_drift_that_is_declined_is_answered_for(ledger: Ledger) -> None:
    close(ledger, ask(ledger, None, Reason.PERSON).id, timedelta(minutes=1))
    drift(ledger, "a")
    assert ask(ledger, "a").state == "cancelled"
    assert waiting(ledger) == []


def test_a_request_that_was_killed_before_it_asked_is_called_again_by_its_event(ledger: Ledger) -> None:
    drift(ledger, "a")
    number = ask(ledger, "a").id
    assert waiting(ledger) == ["a"]
    assert ask(ledger, "a").id == number
    requests.change(ledger, number, state="promoted", closed_at=now())
    assert waiting(ledger) == []


def test_the_end_of_a_campaign_is_announced_until_its_request_has_ended(ledger: Ledger) -> None:
    number = ask(ledger, None, Reason.PERSON).id
    ask_about(ledger, "p", request_id=number)
    assert waiting(ledger) == []
    answers.record(ledger, "widgets", "p", "good", "lab")
    (event,) = events.waiting(ledger, "widgets")
    events.mark_sent(ledger, event.id)
    assert waiting(ledger) == [event.id]
    assert ask(ledger, event.id, Reason.LABELS).id == number
    requests.change(ledger, number, state="promoted", closed_at=now())
    assert waiting(ledger) == []
    assert ask(ledger, event.id, Reason.LABELS).state == "promoted"


def test_a_failed_request_counts_against_cool_down_and_budget_and_is_not_run_again_by_events(ledger: Ledger) -> None:
    drift(ledger, "a")
    number = ask(ledger, "a").id
    requests.fail(ledger, number, "The disk is full.")
    assert (ask(ledger, "a").id, state(ledger, number)) == (number, "failed")
    declined = ask(ledger, "b")
    assert (declined.state, "cool-down" in declined.outcome) == ("cancelled", True)
    for _ in range(2):
        requests.change(ledger, number, closed_at=now() - timedelta(hours=2), opened_at=now() - timedelta(hours=2))
        number = ask(ledger, f"later-{number}").id
        requests.fail(ledger, number, "The disk is full.")
    assert "max_per_day" in requests.all_of(ledger, "widgets")[-1].outcome


def test_a_person_starts_anew_after_a_failed_request_with_the_labels_of_its_campaign(ledger: Ledger) -> None:
    first = ask(ledger, "a").id
    asked = ask_about(ledger, "p", request_id=first)
    answers.record(ledger, "widgets", "p", "good", "lab")
    requests.fail(ledger, first, "The disk is full.")
    second = ask(ledger, None, Reason.PERSON)
    assert (second.id != first, second.state, second.campaign_id) == (True, "requested", asked.id)


def test_what_failed_is_not_failed_again_once_it_ended(ledger: Ledger) -> None:
    number = ask(ledger, "a").id
    requests.change(ledger, number, state="promoted", outcome="better")
    assert requests.fail(ledger, number, "too late").state == "promoted"


def test_a_campaign_that_nobody_can_answer_fails_its_request_and_is_not_taken_over(ledger: Ledger) -> None:
    first = ask(ledger, "a").id
    ask_about(ledger, "p", request_id=first)
    progress = answers.cant_say(ledger, "widgets", "p", "lab", "under a label")
    assert (progress.answered, progress.labelled, progress.ended) == (1, 0, True)
    failed = requests.get(ledger, first)
    assert (failed.state, "none of its parts could be judged" in failed.outcome) == ("failed", True)
    assert ask(ledger, None, Reason.PERSON).campaign_id is None


def test_one_part_that_nobody_can_tell_keeps_no_campaign_open(ledger: Ledger) -> None:
    ask_about(ledger, "p", "q", request_id=ask(ledger, "a").id)
    answers.record(ledger, "widgets", "p", "defect", "lab")
    assert answers.cant_say(ledger, "widgets", "q", "lab", "lost").ended
    assert campaigns.open_ones(ledger, "widgets") == []
    assert len(waiting(ledger)) == 1


def test_a_skipped_part_comes_back_at_the_end_of_the_list(ledger: Ledger) -> None:
    ask_about(ledger, "p", "q", "r")
    for part in ("q", "p"):
        assert answers.skip(ledger, "widgets", part, "lab").answered == 0
    assert [item.inspection.part for item in campaigns.waiting(ledger, "widgets")] == ["r", "q", "p"]


def test_a_campaign_closed_by_a_person_goes_on_with_what_was_answered(ledger: Ledger) -> None:
    asked = ask_about(ledger, "p", "q", request_id=ask(ledger, "a").id)
    answers.record(ledger, "widgets", "p", "defect", "lab")
    closed = answers.close_campaign(ledger, "widgets", asked.id, "lab", "the parts are sold")
    assert (closed.closed_by, "the parts are sold" in (closed.closed_because or "")) == ("lab", True)
    assert len(waiting(ledger)) == 1
    with pytest.raises(BadInput, match="no open campaign"):
        answers.close_campaign(ledger, "widgets", asked.id, "lab", "again")


def test_a_campaign_past_its_days_ends_wherever_campaigns_are_looked_at(ledger: Ledger) -> None:
    number = ask(ledger, "a").id
    asked = ask_about(ledger, "p", request_id=number)
    assert campaign.end_expired(ledger, "widgets", RULES) == []
    with ledger.writing() as session:
        session.get_one(Campaign, asked.id).opened_at = now() - timedelta(days=15)
    assert [item.id for item in campaign.end_expired(ledger, "widgets", RULES)] == [asked.id]
    assert "expired after 14 days" in requests.get(ledger, number).outcome
