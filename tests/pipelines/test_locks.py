from __future__ import annotations

import subprocess
import sys
import time

import pytest

from models.errors import Busy
from pipelines.locks import line_lock
from pipelines.workspace import Workspace

HOLD = """
import sys, time
from pathlib import Path
from pipelines.locks import line_lock
from pipelines.workspace import at
with line_lock(at(Path(sys.argv[1])), "widgets"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(empty_workspace: Workspace):  # type: ignore[no-untyped-def]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(empty_workspace.root)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "held"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_told_who_holds_the_line(empty_workspace: Workspace, holder: subprocess.Popen) -> None:
    with pytest.raises(Busy, match=str(holder.pid)), line_lock(empty_workspace, "widgets"):
        pass


def test_the_lock_of_a_killed_process_is_free(empty_workspace: Workspace, holder: subprocess.Popen) -> None:
    holder.kill()
    holder.wait()
    with line_lock(empty_workspace, "widgets"):
        pass


def test_a_process_may_take_its_own_lock_again(empty_workspace: Workspace) -> None:
    with line_lock(empty_workspace, "widgets"), line_lock(empty_workspace, "widgets"):
        pass


def test_waiting_ends_when_the_holder_ends(empty_workspace: Workspace, holder: subprocess.Popen) -> None:
    started = time.monotonic()
    subprocess.Popen([sys.executable, "-c", f"import time,os; time.sleep(1); os.kill({holder.pid}, 9)"])
    with line_lock(empty_workspace, "widgets", wait_s=30):
        assert 0.5 < time.monotonic() - started < 25
