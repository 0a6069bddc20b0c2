"""Nothing that a command starts survives it, even when it gets a SIGKILL itself and its children don't."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import workspace as workspaces
from pipelines.ledger.ledger import Ledger
from pipelines.review import answers
from pipelines.workspace import Workspace
from tests.behaviour.processes import END_S, MARK, marked, runs, wait
from tests.behaviour.test_retraining import produced  # noqa: F401
from tests.conftest import LINE, stocked_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

START_S = 300.0


@pytest.fixture
def stocked(tmp_path: Path) -> Workspace:
    return stocked_workspace(tmp_path)


@pytest.mark.parametrize(
    ("command", "moment"),
    [
        ("monitor", "flows.attached"),
        ("monitor", "uvicorn"),
        ("train", "pipelines.train"),
    ],
)
def test_nothing_survives_a_killed_command(command: str, moment: str, stocked: Workspace, started: str) -> None:
    killed_at(moment, started, command, stocked.root)


def test_nothing_survives_a_killed_retraining(produced: Path, started: str) -> None:  # noqa: F811
    with Ledger.open(workspaces.at(produced).ledger_url) as ledger:
        for number in range(12):  # answered unasked, so that it trains at once
            answers.record(ledger, LINE, f"new{number}", "defect" if number % 2 == 0 else "good", "lab")
    killed_at("pipelines.train", started, "retrain", produced)


def test_nothing_survives_a_killed_demo(tmp_path: Path, started: str) -> None:
    killed_at("server", started, "demo", tmp_path / "demo")  # the server of the `deploy` that it starts


def killed_at(moment: str, mark: str, command: str, root: Path) -> None:
    """Kill the command when a process of its tree runs `moment`, and see every other one end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", command, "--workspace", str(root)],
        env=os.environ | {MARK: mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert wait(lambda: runs(mark, moment), START_S), f"{moment} never ran"
    process.kill()
    process.wait()
    assert wait(lambda: not marked(mark), END_S), [left.cmdline() for left in marked(mark)]


def test_nothing_survives_a_command_that_ends_by_itself(stocked: Workspace, started: str) -> None:
    command = [sys.executable, "-m", "flows.cli", "monitor", "--workspace", str(stocked.root)]
    done = subprocess.run(command, env=os.environ | {MARK: started}, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert marked(started) == []
