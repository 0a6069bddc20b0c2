from __future__ import annotations

import json

import pytest

from models.errors import NotReady, Refused
from pipelines.adapters import model_registry
from pipelines.ledger import promotions
from pipelines.ledger.ledger import Ledger
from pipelines.promotion import promote
from pipelines.training import register
from pipelines.workspace import Workspace
from tests.conftest import LINE, change_params

pytestmark = pytest.mark.slow


def another_version(place: Workspace) -> str:
    """The same detector once more under another hash: trailing metadata changes the file, not its answers."""
    import onnx
    from onnx import helper

    path = place.artifacts / "export" / "detector.onnx"
    model = onnx.load(path)
    there = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, there | {"note": str(len(there))})
    onnx.save(model, path)
    return register.register(place).version


def decisions(place: Workspace) -> list[tuple[str, str, str]]:
    with Ledger.open(place.ledger_url) as ledger:
        return [(item.kind, item.version, item.state) for item in promotions.all_of(ledger, LINE)]


def champion(place: Workspace) -> str:
    found = model_registry.champion(place, LINE)
    assert found is not None
    return found.version


def test_registering_the_same_file_again_makes_no_second_version(own_champion: Workspace) -> None:
    register.register(own_champion)
    assert [version.version for version in model_registry.versions(own_champion, LINE)] == ["1"]


def test_a_version_carries_its_origin_and_the_decision(own_champion: Workspace) -> None:
    version = model_registry.version(own_champion, LINE, "1")
    assert version.aliases == ("champion",)
    assert version.tags["snapshot"] == "data/widgets/1"
    assert version.tags["gate"] == "promoted"
    assert json.loads(version.tags["slices"]) == ["matt"]


def test_an_equal_challenger_is_refused_and_the_refusal_is_recorded_once(own_champion: Workspace) -> None:
    number = another_version(own_champion)
    first, second = promote.promote(own_champion, number), promote.promote(own_champion, number)
    assert not first.promote
    assert first.reasons == second.reasons
    assert "no cheaper verdicts than version 1: +0 per part" in first.reasons[0]
    assert champion(own_champion) == "1"
    assert decisions(own_champion) == [("promote", "1", "done"), ("refuse", "2", "done")]


def test_a_champion_that_moved_during_the_judgement_stops_the_change(
    own_champion: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, third = another_version(own_champion), another_version(own_champion)
    decide = promote.gate.decide

    def meanwhile(*arguments):  # type: ignore[no-untyped-def]
        model_registry.set_alias(own_champion, LINE, "champion", third)
        decision = decide(*arguments)
        return promote.Decision(True, ("forced",), decision.numbers)

    monkeypatch.setattr(promote.gate, "decide", meanwhile)
    with pytest.raises(Refused, match="moved from 1 to 3"):
        promote.promote(own_champion, second)
    assert champion(own_champion) == third
    assert decisions(own_champion)[-1] == ("promote", second, "overtaken")


def test_a_refusal_is_judged_again_when_the_rules_change(own_champion: Workspace) -> None:
    number = another_version(own_champion)
    assert not promote.promote(own_champion, number).promote
    change_params(own_champion, {"promote": {"min_probability_cheaper": 0}})
    assert promote.promote(own_champion, number).promote
    assert champion(own_champion) == number


def test_a_version_with_more_escapes_stays_challenger_until_a_person_accepts_it(
    own_champion: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = another_version(own_champion)
    change_params(own_champion, {"promote": {"min_probability_cheaper": 0, "max_escape_rise": 0.05}})
    risen = "escape rate on matt rises from 0.1 to 0.2"
    monkeypatch.setattr(promote.gate.changes, "risen_escapes", lambda *_: [risen])
    first, second = promote.promote(own_champion, number), promote.promote(own_champion, number)
    assert (first.promote, first.waits, second.waits) == (False, True, True)
    version = model_registry.version(own_champion, LINE, number)
    assert version.aliases == ("challenger",)
    assert version.tags["gate"] == "waits for a person"
    assert champion(own_champion) == "1"
    accepted = promote.promote(own_champion, number, accept_escapes=promote.Person("quality lab", "agreed"))
    assert accepted.promote
    assert champion(own_champion) == number
    assert decisions(own_champion)[1:] == [("wait", number, "done"), ("promote", number, "done")]


def test_rollback_without_an_earlier_champion_says_so(own_champion: Workspace) -> None:
    with pytest.raises(NotReady, match="No earlier champion"):
        promote.rollback(own_champion)


def test_the_run_holds_what_a_data_scientist_compares(own_champion: Workspace) -> None:
    from pipelines.adapters import tracking

    version = model_registry.version(own_champion, LINE, "1")
    mlflow = tracking.client(own_champion)
    run = mlflow.get_run(version.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert [output.model_id for output in run.outputs.model_outputs] == [version.source.removeprefix("models:/")]
    assert {"test/f1", "test/matt/auroc", "test/calibration_error"} <= set(run.data.metrics)
    assert run.inputs.dataset_inputs[0].dataset.digest == version.tags["data_hash"]
    files = {entry.path for entry in mlflow.list_artifacts(version.mlflow_run_id)}
    assert {"report.html", "figures", "gallery"} <= files


def test_a_refusal_is_judged_again_when_the_lines_defect_rate_changes(own_champion: Workspace) -> None:
    number = another_version(own_champion)
    assert not promote.promote(own_champion, number).promote
    change_params(own_champion, {"production": {"defect_rate": 0.01}})
    promote.promote(own_champion, number)
    with Ledger.open(own_champion.ledger_url) as ledger:
        rates = [item.numbers["defect_rate"] for item in promotions.all_of(ledger, LINE)]
    assert rates == [None, None, 0.01]
