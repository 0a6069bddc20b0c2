"""Nothing that a command starts survives it, even when it gets a SIGKILL itself and its children don't."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from pipelines.workspace import Workspace
from tests.conftest import stocked_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MARK = "STARTED_BY_TEST"
START_S, END_S, POLL_S = 300.0, 30.0, 0.02


@pytest.fixture
def started() -> Iterator[str]:
    """A value of the environment that everything started with it inherits."""
    mark = uuid4().hex
    yield mark
    for process in marked(mark):
        process.kill()


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait(condition: Callable[[], bool], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def runs(mark: str, what: str) -> bool:
    for process in marked(mark):
        try:
            if what in process.cmdline():
                return True
        except psutil.NoSuchProcess:
            continue
    return False


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
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", command, "--workspace", str(stocked.root)],
        env=os.environ | {MARK: started},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert wait(lambda: runs(started, moment), START_S), f"{moment} never ran"
    process.kill()
    process.wait()
    assert wait(lambda: not marked(started), END_S), [left.cmdline() for left in marked(started)]


def test_nothing_survives_a_command_that_ends_by_itself(stocked: Workspace, started: str) -> None:
    command = [sys.executable, "-m", "flows.cli", "monitor", "--workspace", str(stocked.root)]
    done = subprocess.run(command, env=os.environ | {MARK: started}, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert marked(started) == []
