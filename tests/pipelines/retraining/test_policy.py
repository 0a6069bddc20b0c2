"""The policy of retraining, and what people decide about requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from models.errors import BadInput, Busy
from models.params import Retrain
from pipelines.ledger import campaigns, events, promotions, requests, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.requests import RequestEnded
from pipelines.ledger.tables import Promotion, RetrainingRequest, now
from pipelines.retraining import policy, retrain
from pipelines.retraining.policy import Accept, Decline, Facts, Join, Reason
from pipelines.review import answers
from tests.pipelines.retraining.test_retrain import ask, ask_about, drift, ledger  # noqa: F401

AT = datetime(2026, 6, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


def rules(**changed: Any) -> Retrain:
    return Retrain(labels=10, wait_for_labels_s=0, cooldown_minutes=60, max_per_day=9, **changed)


def ended(ago: timedelta, state: str = "refused", **values: Any) -> RetrainingRequest:
    moment = AT - ago
    return RetrainingRequest(
        line="widgets", trigger="x", event_id=None, state=state, opened_at=moment, closed_at=moment, **values
    )


def decide(earlier: list[RetrainingRequest], given: Retrain, reason: Reason = Reason.DRIFT, **more: Any) -> object:
    shift = more.pop("shift", None)
    return policy.decide(Facts(earlier, AT, **more), given, reason=reason, event_id="new", shift=shift)


def test_the_same_shift_seen_ten_times_belongs_to_one_request_until_there_are_new_labels() -> None:
    before = ended(timedelta(hours=5), shift="version 1, poly")
    assert decide([before], rules(), shift="version 1, poly") == Join(before)
    assert decide([before], rules(), shift="version 1, mono") == Accept()
    assert decide([before], rules(), shift="version 1, poly", new_labels={"good": 1}) == Accept()
    assert decide([ended(timedelta(days=2), shift="version 1, poly")], rules(), shift="version 1, poly") == Accept()


def test_a_week_of_training_is_limited_and_the_decline_says_when_it_is_possible() -> None:
    earlier = [ended(timedelta(days=4), training_s=1800.0), ended(timedelta(days=2), training_s=1801.0)]
    declined = decide(earlier, rules(compute_hours_per_week=1))
    assert isinstance(declined, Decline)
    assert declined.possible_at == AT - timedelta(days=4) + WEEK
    assert "compute_hours_per_week" in declined.in_words()
    assert decide(earlier, rules(compute_hours_per_week=1), Reason.PERSON) == Accept()
    assert decide([ended(timedelta(days=8), training_s=9999.0)], rules(compute_hours_per_week=1)) == Accept()


def test_a_week_of_labels_is_limited_but_not_for_labels_that_are_there() -> None:
    asked = [(AT - timedelta(days=1), 6), (AT - timedelta(days=8), 50)]
    assert policy.labels_left(Facts([], AT, asked=asked), rules(labels_per_week=10)) == 4
    declined = decide([], rules(labels_per_week=6), asked=asked)
    assert isinstance(declined, Decline)
    assert declined.possible_at == AT - timedelta(days=1) + WEEK
    assert decide([], rules(labels_per_week=6), Reason.ENOUGH_LABELS, asked=asked) == Accept()


def test_each_class_has_its_minimum_of_new_labels() -> None:
    few = policy.too_few_labels(Facts([], AT, {"good": 9, "defect": 1}), rules(min_labels_per_class=2))
    assert "1 of class defect" in few
    assert policy.too_few_labels(Facts([], AT, {"good": 2, "defect": 2}), rules(min_labels_per_class=2)) == ""


def test_enough_labels_and_the_schedule_are_due_only_when_a_request_would_be_accepted() -> None:
    labels = {"good": 3, "defect": 2}
    assert policy.due(Facts([], AT, labels), rules(start_at_labels=5)) is Reason.ENOUGH_LABELS
    assert policy.due(Facts([], AT, labels), rules(start_at_labels=6)) is None
    assert policy.due(Facts([], AT, labels), rules()) is None
    assert policy.due(Facts([ended(timedelta(days=8))], AT), rules(every_days=7)) is Reason.SCHEDULE
    assert policy.due(Facts([ended(timedelta(days=6))], AT), rules(every_days=7)) is None
    assert policy.due(Facts([ended(timedelta(minutes=1))], AT, labels), rules(start_at_labels=5)) is None


def test_a_trigger_that_is_due_is_stored_once_until_a_request_has_taken_it(ledger: Ledger) -> None:  # noqa: F811
    daily = rules(every_days=1)
    first, second = (retrain.announce_due(ledger, "widgets", daily) for _ in range(2))
    assert first is not None
    assert second is not None
    assert [first.id] == [second.id] == [event.id for event in events.waiting(ledger, "widgets")]
    ask(ledger, first.id, Reason.SCHEDULE)
    assert retrain.announce_due(ledger, "widgets", daily) is None


def approving(ledger: Ledger, event: str | None, reason: Reason = Reason.DRIFT) -> RetrainingRequest:  # noqa: F811
    given = rules(needs_approval=True)
    return retrain.request(ledger, "widgets", given, reason=reason, trigger="x", event_id=event, flow_run_id=None)


def test_a_request_that_needs_approval_is_not_started_before_and_once_after(ledger: Ledger) -> None:  # noqa: F811
    drift(ledger, "a")
    number = approving(ledger, "a").id
    assert (events.waiting(ledger, "widgets"), requests.has_stalled(ledger, "widgets")) == ([], False)
    for _ in range(2):
        approved = requests.approve(ledger, "widgets", number, "lab", "real")
    assert (approved.approved_by, approved.approved_because) == ("lab", "real")
    (event,) = events.waiting(ledger, "widgets")
    assert event.name == events.APPROVED
    assert approving(ledger, event.id, Reason.LABELS).id == number


def test_a_persons_own_request_needs_no_approval(ledger: Ledger) -> None:  # noqa: F811
    number = approving(ledger, None, Reason.PERSON).id
    with pytest.raises(BadInput, match="needs no approval"):
        requests.approve(ledger, "widgets", number, "lab", "x")


def test_nobody_approves_and_the_request_expires(ledger: Ledger) -> None:  # noqa: F811
    number = approving(ledger, "a").id
    requests.change(ledger, number, opened_at=now() - timedelta(days=15))
    retrain.tidy(ledger, "widgets", rules())
    assert (requests.get(ledger, number).state, ask(ledger, "b").id > number) == ("cancelled", True)


def test_a_cancelled_request_ends_its_campaign_and_stops_the_process_that_works_on_it(ledger: Ledger) -> None:  # noqa: F811
    number = ask(ledger, "a").id
    asked = ask_about(ledger, "p", "q", request_id=number)
    cancelled = requests.cancel(ledger, "widgets", number, "lab", "a trial batch")
    assert (cancelled.state, cancelled.outcome) == ("cancelled", "cancelled by lab: a trial batch")
    assert not campaigns.is_open(ledger, asked.id)
    for attempt in ("training", "gated"):
        with pytest.raises(RequestEnded, match="a trial batch"):
            requests.advance(ledger, number, attempt)
    assert events.waiting(ledger, "widgets") == []
    with pytest.raises(BadInput, match="already cancelled"):
        requests.cancel(ledger, "widgets", number, "lab", "again")
    assert "cool-down" in ask(ledger, "b").outcome  # the drift that was cancelled does not come back at once


def test_a_request_that_was_cancelled_before_it_asked_opens_no_campaign(ledger: Ledger) -> None:  # noqa: F811
    number = ask(ledger, "a").id
    requests.cancel(ledger, "widgets", number, "lab", "a trial batch")
    with pytest.raises(RequestEnded):
        ask_about(ledger, "p", request_id=number)
    assert campaigns.open_ones(ledger, "widgets") == []


def test_it_is_not_cancelled_while_the_gate_judges_but_after_it_asked_a_person(ledger: Ledger) -> None:  # noqa: F811
    number = ask(ledger, "a").id
    requests.advance(ledger, number, "gated")
    assert requests.has_stalled(ledger, "widgets")  # killed here, it is run again
    with pytest.raises(Busy):
        requests.cancel(ledger, "widgets", number, "lab", "too late")
    requests.change(ledger, number, version="2")
    assert not requests.has_stalled(ledger, "widgets")
    assert requests.cancel(ledger, "widgets", number, "lab", "not wanted").state == "cancelled"


def test_a_request_whose_process_died_after_its_training_still_counts_its_labels(ledger: Ledger) -> None:  # noqa: F811
    number = ask(ledger, "a").id
    ask_about(ledger, "p", "q", request_id=number)
    answers.record(ledger, "widgets", "p", "good", "lab")
    requests.advance(ledger, number, "gated", last_review=reviews.newest(ledger, "widgets"))
    assert (reviews.unlearned(ledger, "widgets"), reviews.unlearned(ledger, "widgets", number)) == (0, 1)


@pytest.mark.parametrize(("kind", "state"), [("promote", "promoted"), ("refuse", "refused"), ("wait", "gated")])
def test_a_gated_request_ends_as_the_person_decides(ledger: Ledger, kind: str, state: str) -> None:  # noqa: F811
    number = ask(ledger, "a").id
    requests.advance(ledger, number, "gated")
    requests.change(ledger, number, version="2")
    decision = Promotion(
        line="widgets",
        kind=kind,
        version="2",
        champion_before="1",
        reasons=["escapes accepted by lab"],
        numbers={},
        state="pending",
        decided_at=now(),
    )
    promotions.add(ledger, decision)
    retrain.tidy(ledger, "widgets", rules())
    assert requests.get(ledger, number).state == "gated"  # the registry has not changed yet
    promotions.close(ledger, decision, "done")
    requests.change(
        ledger, number, opened_at=now() - timedelta(days=40)
    )  # its labels took weeks; the person has time now
    retrain.tidy(ledger, "widgets", rules())
    assert requests.get(ledger, number).state == state


def test_states_of_older_releases_are_read_as_the_present_ones(ledger: Ledger) -> None:  # noqa: F811
    former = {"open": "requested", "labelling": "awaiting_labels", "declined": "cancelled"}
    for old, present in former.items():
        number = ask(ledger, old).id
        with ledger.writing() as session:
            session.execute(
                text("UPDATE retraining_requests SET state = :old WHERE id = :id"), {"old": old, "id": number}
            )
        assert requests.get(ledger, number).state == present
        assert requests.has_stalled(ledger, "widgets") == (old != "declined")
        if old != "declined":
            requests.cancel(ledger, "widgets", number, "lab", "x")
            requests.change(ledger, number, closed_at=now() - timedelta(hours=2))
