from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

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


def refusal(place: Workspace) -> Busy | None:
    """What another thread is told that wants the line at once; None where it gets it."""

    def take() -> Busy | None:
        try:
            with line_lock(place, "widgets"):
                return None
        except Busy as busy:
            return busy

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(take).result()


def test_a_second_process_is_told_who_holds_the_line(empty_workspace: Workspace, holder: subprocess.Popen) -> None:
    with pytest.raises(Busy, match=str(holder.pid)), line_lock(empty_workspace, "widgets"):
        pass


def test_the_lock_of_a_killed_process_is_free(empty_workspace: Workspace, holder: subprocess.Popen) -> None:
    holder.kill()
    holder.wait()
    with line_lock(empty_workspace, "widgets"):
        pass


def test_a_thread_may_take_its_own_lock_again_and_holds_it_to_the_end(
    empty_workspace: Workspace,
) -> None:
    with line_lock(empty_workspace, "widgets"):
        with line_lock(empty_workspace, "widgets"):
            pass
        assert refusal(empty_workspace) is not None
    assert refusal(empty_workspace) is None


def test_threads_of_one_process_take_turns(empty_workspace: Workspace) -> None:
    inside: list[str] = []
    overlaps: list[list[str]] = []

    def work(name: str) -> None:
        for _ in range(5):
            with line_lock(empty_workspace, "widgets", wait_s=30):
                inside.append(name)
                time.sleep(0.01)
                if len(inside) > 1:
                    overlaps.append(list(inside))
                inside.remove(name)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, name) for name in "abcd"]:
            done.result()
    assert overlaps == []
    assert refusal(empty_workspace) is None


def test_a_second_thread_is_told_which_thread_holds_the_line(empty_workspace: Workspace) -> None:
    with line_lock(empty_workspace, "widgets"):
        busy = refusal(empty_workspace)
    assert busy is not None
    assert f"process {os.getpid()}" in busy.message
    assert threading.current_thread().name in busy.message


def test_the_note_of_a_killed_holder_is_not_taken_for_the_present_one(
    empty_workspace: Workspace, holder: subprocess.Popen
) -> None:
    holder.kill()
    holder.wait()
    with line_lock(empty_workspace, "widgets"):
        busy = refusal(empty_workspace)
    assert busy is not None
    assert str(os.getpid()) in busy.message


def test_waiting_ends_when_the_holder_ends(empty_workspace: Workspace, holder: subprocess.Popen) -> None:
    started = time.monotonic()
    subprocess.Popen([sys.executable, "-c", f"import time,os; time.sleep(1); os.kill({holder.pid}, 9)"])
    with line_lock(empty_workspace, "widgets", wait_s=30):
        assert 0.5 < time.monotonic() - started < 25
