"""Servers that say they are healthy and fail at everything else: no command waits for them longer than its deadline."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flows import home
from flows.local_server import local_server
from models.errors import Unreachable
from pipelines.adapters import tracking
from pipelines.adapters.s3 import S3Store
from pipelines.inspection import champion_on_disk
from pipelines.promotion import promote
from pipelines.workspace import Workspace
from tests.behaviour.processes import under_way, wait
from tests.conftest import LINE, change_params, picture
from tests.faulty_server import MODES, faulty_server
from tests.pipelines.promotion.test_promote import another_version

pytestmark = pytest.mark.timeout(900)

DEADLINE_S = 12.0
SLACK_S = 3.0  # of a busy machine


@pytest.fixture(autouse=True)
def _short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFECTLOOP_DEADLINE_S", str(DEADLINE_S))
    for name in ("TIMEOUT", "MAX_RETRIES", "BACKOFF_FACTOR"):  # set when the first client is made, kept for the process
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "4" if name == "TIMEOUT" else "1")


@pytest.mark.parametrize("mode", MODES)
def test_a_tracking_server_that_is_healthy_and_fails_is_given_up(mode: str, empty_workspace: Workspace) -> None:
    with faulty_server(mode) as url:
        began = time.monotonic()
        with pytest.raises(Unreachable, match="MLFLOW_TRACKING_URI") as error:
            tracking.client(replace(empty_workspace, tracking_uri=url)).get_experiment_by_name(LINE)
        assert time.monotonic() - began < DEADLINE_S + SLACK_S
        assert url in error.value.message
        assert len(error.value.message) < 1000


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_without_the_registry_the_champion_on_disk_inspects_within_a_sixth_of_the_deadline(
    mode: str, own_champion: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    confirmed = champion_on_disk.load(own_champion, LINE)
    with faulty_server(mode) as url, caplog.at_level(logging.WARNING):
        began = time.monotonic()
        found = champion_on_disk.load(replace(own_champion, tracking_uri=url), LINE)
        assert time.monotonic() - began < DEADLINE_S / 6 + SLACK_S
        champion_on_disk.warn_if_unconfirmed(found)
    assert found.unconfirmed
    assert url in found.unconfirmed
    assert replace(found, unconfirmed=None) == confirmed
    assert f"version 1, the champion of {confirmed.confirmed_at:%Y-%m-%d %H:%M} UTC" in caplog.text


@pytest.mark.slow
def test_what_was_withdrawn_does_not_come_back_from_the_disk(own_champion: Workspace) -> None:
    change_params(own_champion, {"promote": {"min_probability_cheaper": 0}})
    first = champion_on_disk.load(own_champion, LINE)
    second = another_version(own_champion)
    promote.promote(own_champion, second)
    assert champion_on_disk.load(own_champion, LINE).version == second
    promote.rollback(own_champion)
    with faulty_server("silence") as url:
        away = replace(own_champion, tracking_uri=url)
        assert champion_on_disk.load(away, LINE).version == "1"
        first.path.unlink()
        with pytest.raises(Unreachable):
            champion_on_disk.load(away, LINE)


@pytest.mark.slow
def test_inspect_answers_without_the_registry_and_says_with_which_version(
    own_champion: Workspace, tmp_path: Path, defectloop
) -> None:
    image = tmp_path / "part.png"
    image.write_bytes(picture(900, defective=True))
    assert defectloop("inspect", image, "--workspace", own_champion.root).returncode == 0
    with faulty_server("silence") as url:
        done = defectloop("inspect", image, "--workspace", own_champion.root, MLFLOW_TRACKING_URI=url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model_version"] == "1"
    assert "Inspecting with version 1" in done.stderr


@pytest.mark.parametrize("mode", MODES)
def test_a_prefect_that_is_healthy_and_fails_is_given_up(mode: str, empty_workspace: Workspace, defectloop) -> None:
    with faulty_server(mode) as url:
        done = defectloop("monitor", "--workspace", empty_workspace.root, PREFECT_API_URL=f"{url}/api")
    assert done.returncode == 5, done.stderr
    assert f"{url}/api" in done.stderr
    assert "PREFECT_API_URL" in done.stderr


@pytest.mark.slow
def test_monitor_ends_when_its_prefect_dies(own_champion: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in os.environ.items():
        monkeypatch.setenv(name, value)  # the server sets some
    with local_server(own_champion) as url:
        server = json.loads(home.server_note(own_champion).read_text())["pid"]
        run = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "monitor", "--workspace", str(own_champion.root)],
            env=os.environ | {"PREFECT_API_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert wait(lambda: bool(under_way(url)) or run.poll() is not None, 120, 0.1)
        os.killpg(server, signal.SIGKILL)
        began = time.monotonic()
        out, err = run.communicate(timeout=300)
    assert run.returncode == 5, out + err
    assert "Prefect" in err
    assert time.monotonic() - began < 2 * DEADLINE_S + SLACK_S


def test_an_image_store_that_does_not_answer_keeps_no_verdict_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with faulty_server("silence") as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        began = time.monotonic()
        with pytest.raises(Unreachable, match="DEFECTLOOP_STORE"):
            S3Store("s3://images").put(b"image")
        assert time.monotonic() - began < DEADLINE_S / 6 + SLACK_S
