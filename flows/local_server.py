"""A workspace's own Prefect server: start it on a free port, wait until it answers, stop it again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from flows import home
from models.errors import BadInput, Unreachable
from pipelines.workspace import Workspace

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
ATTACHED = (sys.executable, "-m", "flows.attached")  # what we start shall not outlive us


@contextlib.contextmanager
def local_server(workspace: Workspace, port: int | None = None) -> Iterator[str]:
    """Run a server for the length of the block and yield its API URL; an already running one is used and left alone.

    Raises BadInput when `port` is taken and Unreachable when the server does not come up.
    """
    already = home.running(workspace)
    if already:
        yield already
        return
    port = _claim(port)
    api_url = f"http://127.0.0.1:{port}/api"
    note = home.server_note(workspace)
    note.parent.mkdir(parents=True, exist_ok=True)
    log_path = note.with_name("server.log")
    with log_path.open("ab") as log:
        server = subprocess.Popen(
            [*ATTACHED, sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | {"PREFECT_API_URL": api_url, "PREFECT_UI_API_URL": api_url},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches us first; we stop it after the runner
        )
    try:
        _wait_until_up(server, api_url, str(log_path))
        note.write_text(json.dumps({"api_url": api_url, "pid": server.pid}))
        yield api_url
    finally:
        note.unlink(missing_ok=True)
        stop(server)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process group to end, and end it when it does not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)


def _claim(port: int | None) -> int:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port or 0))
        except OSError as error:
            raise BadInput(
                f"Port {port} is in use.", next_step="Choose another with --port, or leave it out for a free one."
            ) from error
        return int(probe.getsockname()[1])


def _wait_until_up(server: subprocess.Popen[bytes], api_url: str, log: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise Unreachable(f"The Prefect server ended with code {server.returncode}.", next_step=f"Read {log}.")
        if home.answers(api_url, timeout_s=1.0):
            return
        time.sleep(0.2)
    raise Unreachable(f"The Prefect server did not answer within {START_TIMEOUT_S:.0f} s.", next_step=f"Read {log}.")
