"""The champion is replaced while the service runs; a challenger sees the same parts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from fastapi.testclient import TestClient

from models.detector.runtime import Detector
from models.errors import Unreachable
from models.params import Inspect
from models.vocabulary import Prediction
from pipelines.adapters import model_registry
from pipelines.inspection.judging import Answer, Inspected, Production
from pipelines.inspection.status import status
from pipelines.inspection.status_text import render
from pipelines.ledger import shadows
from pipelines.ledger.ledger import Ledger
from pipelines.serving import app, champions
from pipelines.serving.config import Serve
from pipelines.serving.service import Service
from pipelines.workspace import Workspace
from tests.pipelines.serving.test_api import post
from tests.pipelines.serving.test_durability import until
from tests.pipelines.serving.versions import add_version, set_alias

Picture = Callable[[int], bytes]


def serving(service: Service) -> str | None:
    champion = service.lines["widgets"].champions.state.champion
    return champion.version if champion else None


def test_no_request_is_lost_or_answered_by_half_of_each_while_the_champion_changes(
    service: Service, client: TestClient, workspace: Workspace, picture: Picture
) -> None:
    add_version(workspace, 2)
    answers: list[dict] = []
    stop = threading.Event()

    def load(worker: int) -> None:
        number = 0
        while not stop.is_set():
            answered = post(client, picture(number % 20), part=f"{worker}-{number}")
            answers.append(answered.json() | {"status": answered.status_code})
            number += 1

    threads = [threading.Thread(target=load, args=(worker,)) for worker in range(2)]
    for thread in threads:
        thread.start()
    try:
        for version in (2, 1, 2):
            set_alias(workspace, "champion", version)
            service.lines["widgets"].champions.check()
            assert serving(service) == str(version)
            answered = len(answers)
            until(lambda: len(answers) > answered + 5)  # noqa: B023
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {one["status"] for one in answers} == {201}
    assert {one["model_version"] for one in answers} == {"1", "2"}
    state = service.lines["widgets"].champions.state
    detectors = {judge.version: judge.detector for judge in (state.champion, state.former) if judge}
    assert all(one["verdict"] == detectors[one["model_version"]].verdict(one["score"]) for one in answers)
    assert "pass" in {one["verdict"] for one in answers if one["model_version"] == "1"}  # version 2 fails every part


def test_the_service_notices_a_new_champion_by_itself(service: Service, workspace: Workspace) -> None:
    add_version(workspace, 2)
    set_alias(workspace, "champion", 2)
    until(lambda: serving(service) == "2")


def test_a_rollback_loads_nothing(service: Service, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    add_version(workspace, 2)
    set_alias(workspace, "champion", 2)
    service.lines["widgets"].champions.check()

    def no_loading(*_: object) -> None:
        raise AssertionError("it was loaded before")

    monkeypatch.setattr(champions, "Detector", no_loading)
    set_alias(workspace, "champion", 1)
    service.lines["widgets"].champions.check()
    assert serving(service) == "1"


def test_an_altered_file_does_not_become_champion(
    service: Service, client: TestClient, workspace: Workspace, picture: Picture
) -> None:
    add_version(workspace, 2, lambda data: data + b" ")
    set_alias(workspace, "champion", 2)
    service.lines["widgets"].champions.check()
    assert post(client, picture(1)).json()["model_version"] == "1"
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert "altered" in ready.json()["lines"]["widgets"]["registry"]


def test_the_champion_goes_on_while_the_registry_is_away(
    service: Service, client: TestClient, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Unreachable("The registry does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(model_registry, "champion", away)
        service.lines["widgets"].champions.check()
        assert client.get("/readyz").json()["lines"]["widgets"]["registry"] == "The registry does not answer."
        assert post(client, picture(1)).status_code == 201
    service.lines["widgets"].champions.check()
    assert client.get("/readyz").json()["lines"]["widgets"]["registry"] == "ok"


def test_a_challenger_in_the_shadow_is_recorded_and_never_answered(workspace: Workspace, picture: Picture) -> None:
    add_version(workspace, 2)
    set_alias(workspace, "challenger", 2)
    with Service([workspace], Serve(shadow=True)) as service, TestClient(app.create(service)) as client:
        answers = [post(client, picture(number)).json() for number in range(4)]
    assert {one["model_version"] for one in answers} == {"1"}
    with Ledger.open(workspace.ledger_url) as ledger:
        [agreement] = shadows.agreements(ledger, "widgets")
    assert (agreement.champion, agreement.challenger, agreement.images) == ("1", "2", 4)
    assert agreement.agreed == [one["verdict"] for one in answers].count("fail")  # version 2 fails every part
    assert {after for _, after in agreement.changed} == {"fail"}
    shown = " ".join(render(status(workspace), 200).split())
    assert f"on 4 production images, version 2 gave the same verdict as version 1 on {agreement.agreed}" in shown


def test_a_canary_judges_its_share_of_the_parts_with_all_their_views(workspace: Workspace, picture: Picture) -> None:
    add_version(workspace, 2)
    set_alias(workspace, "challenger", 2)
    params = workspace.root / "params.yaml"
    params.write_text(params.read_text() + "\ninspect:\n  canary_share: 0.5\n")
    with Service([workspace], Serve()) as service, TestClient(app.create(service)) as client:
        by_part = {
            part: {post(client, picture(part), part=f"B-{part}", view=view).json()["model_version"] for view in "ab"}
            for part in range(16)
        }
    assert all(len(versions) == 1 for versions in by_part.values())
    assert set().union(*by_part.values()) == {"1", "2"}


def test_the_share_of_a_canary_is_kept_on_many_parts() -> None:
    from pipelines.serving.engine import in_canary

    share = sum(in_canary(f"part {number}", "7", Inspect(canary_share=0.05).canary_share) for number in range(10_000))
    assert 420 < share < 580
    assert not any(in_canary(f"part {number}", "7", 0.0) for number in range(100))
    assert all(in_canary(f"part {number}", "7", 1.0) for number in range(100))


def test_a_request_alone_uses_all_cores_and_others_one_with_the_same_score(
    service: Service, picture: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = service.lines["widgets"]
    champion = engine.champions.state.champion
    assert champion is not None
    if champion.on_all_cores is None:
        pytest.skip("this machine has one core")
    used: list[bool] = []
    together = threading.Barrier(2)
    predict = Detector.predict

    def noted(detector: Detector, image: np.ndarray) -> Prediction:
        used.append(detector is champion.on_all_cores)
        return predict(detector, image)

    monkeypatch.setattr(Detector, "predict", noted)
    alone = engine.inspect(Production(read=lambda: picture(1), request_id="alone"), "test")

    def both(number: int) -> Answer:
        with engine._cores.entered():  # another request is on its way
            together.wait()
            return engine.inspect(Production(read=lambda: picture(1), request_id=str(number)), "test")

    with ThreadPoolExecutor(2) as pool:
        crowded = list(pool.map(both, range(2)))
    assert used == [True, False, False]
    answers = [alone, *crowded]
    assert len({answer.record.score for answer in answers if isinstance(answer, Inspected)}) == 1
    assert all(isinstance(answer, Inspected) for answer in answers)


def test_a_version_that_answers_differently_on_several_cores_always_uses_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = Detector.predict

    def inexact(detector: Detector, image: np.ndarray) -> Prediction:
        found = predict(detector, image)
        return replace(found, score=np.nextafter(found.score, 1.0)) if detector.threads > 1 else found

    monkeypatch.setattr(Detector, "predict", inexact)
    with Service([workspace], Serve()) as opened:
        champion = opened.lines["widgets"].champions.state.champion
        assert champion is not None
        assert champion.on_all_cores is None
