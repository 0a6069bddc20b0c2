"""Processes that a test starts, known by a mark in the environment that everything started with them inherits."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable

import psutil

MARK = "STARTED_BY_TEST"
POLL_S = 0.05
END_S = 30.0  # in which everything that a command started has to end with it


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait(condition: Callable[[], bool], limit_s: float, poll_s: float = POLL_S) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_s)
    return True


def runs(mark: str, what: str) -> bool:
    for process in marked(mark):
        try:
            if what in process.cmdline():
                return True
        except psutil.NoSuchProcess:
            continue
    return False


def under_way(api_url: str | None) -> list[str]:
    """The names of the flow runs that a Prefect server takes for running."""
    assert api_url is not None
    chosen = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}}}
    asked = urllib.request.Request(
        f"{api_url}/flow_runs/filter",
        data=json.dumps(chosen).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=60) as response:
        return [run["name"] for run in json.load(response)]
