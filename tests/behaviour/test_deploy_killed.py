"""SIGKILL of `defectloop deploy` at any moment; started again, it goes on with what the ledger holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows import home
from pipelines import workspace as workspaces
from pipelines.adapters import model_registry
from pipelines.ledger import events, requests
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import RetrainingRequest
from pipelines.workspace import Workspace
from tests.behaviour.processes import END_S, MARK, marked, under_way, wait
from tests.behaviour.test_retraining import answer_all, produced  # noqa: F401
from tests.conftest import LINE, change_params

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

REACHED_S, POLL_S = 400.0, 0.5


def deploy(place: Workspace, mark: str) -> subprocess.Popen[bytes]:
    with (place.state / "deploy.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "deploy", "--workspace", str(place.root)],
            env=os.environ | {MARK: mark},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def request(place: Workspace) -> RetrainingRequest | None:
    with Ledger.open(place.ledger_url) as ledger:
        made = requests.all_of(ledger, LINE)
    assert len(made) < 2
    return made[0] if made else None


def is_in(place: Workspace, *states: str) -> bool:
    made = request(place)
    return made is not None and made.state in states


def until(process: subprocess.Popen[bytes], place: Workspace, *states: str) -> None:
    """Wait for the request to be in one of the states."""
    wait(lambda: process.poll() is not None or is_in(place, *states), REACHED_S, POLL_S)
    assert is_in(place, *states), (request(place), (place.state / "deploy.log").read_text())


def test_a_killed_deploy_blocks_nothing_and_the_next_one_finishes_the_retraining(
    produced: Path,  # noqa: F811
    started: str,
) -> None:
    place = workspaces.at(produced)
    change_params(place, {"retrain": {"wait_for_labels_s": 600}})
    first = deploy(place, started)
    until(first, place, "awaiting_labels")
    answer_all(place)
    until(first, place, "training")
    first.kill()
    first.wait()
    assert wait(lambda: not marked(started), END_S), [left.cmdline() for left in marked(started)]
    second = deploy(place, started)
    until(second, place, *events.CLOSED)
    left = under_way(home.running(place))
    second.terminate()
    second.wait()
    assert is_in(place, "promoted", "refused"), request(place)
    assert len(left) <= 1, left  # the last one may be about to say that it is done
    assert [version.version for version in model_registry.versions(place, LINE)] == ["1", "2"]
