"""The way back, and what was half done: rollbacks stay, and whoever comes next finishes a killed decision."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pyarrow import parquet

from models.detector.runtime import Detector
from models.errors import NotReady, Refused
from pipelines.adapters import model_registry
from pipelines.inspection.status import status
from pipelines.inspection.status_text import render
from pipelines.ledger import promotions
from pipelines.ledger.ledger import Ledger
from pipelines.locks import line_lock
from pipelines.promotion import promote
from pipelines.promotion.promote import Person
from pipelines.workspace import Workspace
from tests.conftest import LINE, change_params
from tests.pipelines.promotion.test_compare import lenient_version
from tests.pipelines.promotion.test_promote import another_version, champion, decisions

pytestmark = pytest.mark.slow

LIFTED = Person(reviewer="quality lab", reason="the lamp was broken, not the model")


@pytest.fixture
def line(own_champion: Workspace) -> Workspace:
    """A line whose gate lets an equal challenger through."""
    change_params(own_champion, {"promote": {"min_probability_cheaper": 0}})
    return own_champion


def promoted(place: Workspace) -> str:
    number = another_version(place)
    assert promote.promote(place, number).promote
    return number


class Killed(BaseException):
    """Stands for a SIGKILL: nothing in the code may catch it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, action: Callable[[], object]) -> None:
    """Let `action` die where it would call `owner.name`."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, die)
        with pytest.raises(Killed):
            action()


def aliases(place: Workspace, number: str) -> tuple[str, ...]:
    return next(entry.aliases for entry in model_registry.versions(place, LINE) if entry.version == number)


def tags(place: Workspace, number: str) -> dict[str, str]:
    return dict(model_registry.version(place, LINE, number).tags)


def test_what_was_rolled_back_is_not_promoted_again_by_itself(line: Workspace) -> None:
    second = promoted(line)
    promote.rollback(line, reason="too many escapes on the night shift", reviewer="quality lab")
    assert champion(line) == "1"
    again = promote.promote(line, second)
    assert not again.promote
    assert "withdrawn" in again.reasons[0]
    assert "too many escapes on the night shift" in again.reasons[0]
    assert "quality lab" in again.reasons[0]
    assert champion(line) == "1"
    promote.promote(line, second)
    assert decisions(line)[-2:] == [("rollback", "1", "done"), ("refuse", second, "done")]


def test_a_withdrawn_version_shows_it_in_the_registry_and_in_the_status(line: Workspace) -> None:
    second = promoted(line)
    promote.rollback(line, reason="too many escapes")
    assert "too many escapes" in tags(line, second)["withdrawn"]
    assert f"version {second}" in next(row for row in render(status(line)).splitlines() if row.startswith("withdrawn"))
    promote.promote(line, second, lift=LIFTED)
    assert "withdrawn" not in tags(line, second)
    assert "withdrawn" not in render(status(line))


def test_a_person_lifts_a_withdrawal_and_the_version_goes_through_the_gate(line: Workspace) -> None:
    second = promoted(line)
    promote.rollback(line)
    assert promote.promote(line, second, lift=LIFTED).promote
    assert champion(line) == second
    assert promote.promote(line, second, lift=LIFTED).promote  # the same command again


def test_the_same_file_under_a_new_number_is_withdrawn_too(line: Workspace) -> None:
    second = promoted(line)
    promote.rollback(line)
    copied = model_registry.version(line, LINE, second)
    made = model_registry.tracking.client(line).create_model_version(LINE, source=copied.source, tags=dict(copied.tags))
    assert not promote.promote(line, str(made.version)).promote
    assert champion(line) == "1"


def test_two_rollbacks_go_further_back_and_not_to_and_fro(line: Workspace) -> None:
    second, third = promoted(line), promoted(line)
    promote.rollback(line)
    assert champion(line) == second
    promote.rollback(line)
    assert champion(line) == "1"
    with pytest.raises(NotReady, match="No earlier champion"):
        promote.rollback(line)
    assert not promote.promote(line, third).promote
    assert not promote.promote(line, second).promote


def test_nobody_rolls_back_to_a_withdrawn_version(line: Workspace) -> None:
    second = promoted(line)
    promote.rollback(line)
    with pytest.raises(Refused, match="withdrawn"):
        promote.rollback(line, second)
    assert champion(line) == "1"


def test_a_rollback_to_the_present_champion_withdraws_nothing(line: Workspace) -> None:
    second = promoted(line)
    promote.rollback(line, second)
    assert champion(line) == second
    assert "withdrawn" not in tags(line, second)


def test_a_rollback_that_was_killed_is_finished_and_not_done_twice(
    line: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = promoted(line)
    for owner, name in ((model_registry, "set_alias"), (model_registry, "set_tags")):
        kill_at(monkeypatch, owner, name, lambda: promote.rollback(line))
    promote.rollback(line)
    assert champion(line) == "1"
    assert decisions(line)[-1] == ("rollback", "1", "done")
    assert [kind for kind, _, _ in decisions(line)] == ["promote", "promote", "rollback"]
    assert "withdrawn" in tags(line, second)


@pytest.mark.parametrize("where", ["set_alias", "set_tags"])
def test_a_killed_promotion_is_finished_by_the_promotion_of_another_version(
    where: str, line: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, third = another_version(line), another_version(line)
    kill_at(monkeypatch, model_registry, where, lambda: promote.promote(line, second))
    assert "is pending" in render(status(line))
    assert promote.promote(line, third).promote
    assert decisions(line) == [("promote", "1", "done"), ("promote", second, "done"), ("promote", third, "done")]
    assert tags(line, second)["gate"] == "promoted"
    promote.rollback(line)
    assert champion(line) == second


def test_a_killed_promotion_is_finished_before_a_rollback(line: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    second = another_version(line)
    kill_at(monkeypatch, model_registry, "set_tags", lambda: promote.promote(line, second))
    promote.rollback(line)
    assert champion(line) == "1"
    assert decisions(line) == [("promote", "1", "done"), ("promote", second, "done"), ("rollback", "1", "done")]


def test_a_killed_promotion_is_finished_by_the_next_monitoring(
    line: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = another_version(line)
    kill_at(monkeypatch, model_registry, "set_tags", lambda: promote.promote(line, second))
    promote.finish_interrupted(line)
    assert decisions(line)[-1] == ("promote", second, "done")


def test_a_killed_promotion_whose_rival_is_gone_is_not_carried_out(
    line: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, third = another_version(line), another_version(line)
    kill_at(monkeypatch, model_registry, "set_alias", lambda: promote.promote(line, second))
    model_registry.set_alias(line, LINE, "champion", third)
    promote.finish_interrupted(line)
    assert champion(line) == third
    assert decisions(line)[-1] == ("promote", second, "overtaken")


def test_only_its_own_challenger_alias_is_dropped_by_a_decision(own_champion: Workspace) -> None:
    second, third = another_version(own_champion), another_version(own_champion)
    promote.promote(own_champion, second)
    assert aliases(own_champion, third) == ("challenger",)
    promote.promote(own_champion, third)
    assert aliases(own_champion, third) == ()


def test_a_rollback_does_not_wait_for_a_training(line: Workspace) -> None:
    promoted(line)
    with line_lock(line, LINE), ThreadPoolExecutor() as operator:  # as a training does, for hours
        assert operator.submit(promote.rollback, line).result(timeout=60).promote
    assert champion(line) == "1"


def test_a_rollback_during_the_measurements_of_a_challenger_counts_in_its_decision(
    line: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(line)
    third = another_version(line)
    measure = promote.kept_predictions.predictions
    rolled_back: list[str] = []

    def meanwhile(*arguments):  # type: ignore[no-untyped-def]
        if not rolled_back:
            rolled_back.append("1")
            with ThreadPoolExecutor() as operator:
                operator.submit(promote.rollback, line).result(timeout=60)
        return measure(*arguments)

    monkeypatch.setattr(promote.kept_predictions, "predictions", meanwhile)
    assert promote.promote(line, third).promote
    with Ledger.open(line.ledger_url) as ledger:
        assert promotions.last(ledger, LINE, version=third).champion_before == "1"


def test_a_rollback_restores_version_thresholds_and_reference_together_in_seconds(line: Workspace) -> None:
    def used() -> tuple[str, object, bytes]:
        present = model_registry.champion(line, LINE)
        assert present is not None
        detector = Detector(model_registry.download(line, present))
        return present.version, detector.metadata.operating_point, model_registry.reference(line, present).read_bytes()

    before = used()
    evaluated = line.artifacts / "evaluate"
    table = parquet.read_table(evaluated / "reference.parquet")
    parquet.write_table(table.slice(0, len(table) - 1), evaluated / "reference.parquet")  # another reference
    second = lenient_version(line)  # other thresholds
    change_params(line, {"promote": {"max_escape_rate": 1, "max_cost_rise": 100}})
    assert promote.promote(line, second).promote
    assert all(now != then for now, then in zip(used(), before, strict=True))
    started = time.perf_counter()
    promote.rollback(line, reason="too many escapes")
    assert time.perf_counter() - started < 10
    assert used() == before


def test_hosts_that_share_only_the_ledger_decide_in_turn(line: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another host rolls back while this one judges: this one judges again, against the new champion."""
    second, third = promoted(line), another_version(line)
    monkeypatch.setattr(promote, "decision_lock", lambda *_: contextlib.nullcontext())  # no kernel lock reaches both
    decide, judged = promote.gate.decide, []

    def meanwhile(*arguments):  # type: ignore[no-untyped-def]
        judged.append(arguments[1].version)
        if len(judged) == 1:
            with ThreadPoolExecutor() as other_host:
                other_host.submit(promote.rollback, line).result(timeout=60)
        return decide(*arguments)

    monkeypatch.setattr(promote.gate, "decide", meanwhile)
    assert promote.promote(line, third).promote
    assert judged == [second, "1"]
    assert champion(line) == third
    assert [kind for kind, _, _ in decisions(line)] == ["promote", "promote", "rollback", "promote"]


def test_a_host_that_was_slow_to_carry_out_its_decision_does_not_undo_a_newer_one(
    line: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = another_version(line)
    monkeypatch.setattr(promote, "decision_lock", lambda *_: contextlib.nullcontext())
    set_alias, waits = model_registry.set_alias, [True]

    def slow(*arguments: object) -> None:
        if waits and waits.pop():
            with ThreadPoolExecutor() as other_host:  # finishes our promotion, then takes it back
                other_host.submit(promote.finish_interrupted, line).result(timeout=60)
                other_host.submit(promote.rollback, line).result(timeout=60)
        set_alias(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(model_registry, "set_alias", slow)
    promote.promote(line, second)
    assert champion(line) == "1"
    assert decisions(line)[-2:] == [("promote", second, "done"), ("rollback", "1", "done")]
