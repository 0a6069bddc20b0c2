"""A workspace's own Prefect server: start it on a free port, wait until it answers, stop it.

`local_server` serves the UI and the deployments. `for_one_command` starts a temporary server for the flow runs of one
command if no server is running. Neither outlives the process that started it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from flows import attached, home
from models.errors import BadInput, Unreachable
from pipelines.failures import not_installed
from pipelines.workspace import Workspace

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.2
LOG = "server.log"
HOST = "127.0.0.1"


@contextlib.contextmanager
def local_server(workspace: Workspace, port: int | None = None) -> Iterator[str]:
    """Run a server during the block and yield its API URL. A server that already runs is used and left running.

    Raises BadInput if `port` is in use, and Unreachable if the server does not start.
    """
    already = home.running(workspace)
    if already:
        yield already
        return
    port = claim(port)
    command = ["prefect", "server", "start", "--host", HOST, "--port", str(port)]
    server, api_url = _start(workspace, command, port)
    note = home.server_note(workspace)
    try:
        _wait_until_up(server, api_url, str(note.with_name(LOG)))
        note.write_text(json.dumps({"api_url": api_url, "pid": server.pid}))
        yield api_url
    finally:
        note.unlink(missing_ok=True)
        stop(server)


def wait_for_orphan(workspace: Workspace) -> None:
    """Wait until the server of a killed `deploy` has ended, so that it is not used. It ends by itself within seconds."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline and home.running(workspace):
        time.sleep(POLL_S)


def for_one_command(workspace: Workspace) -> str | None:
    """Provide a Prefect server for the flows of this command.

    Returns the URL of a server that is already running, or None after starting a temporary one that ends with this process.
    Prefect would start a temporary server itself, but that one survives a SIGKILL of its parent. Call this before the first
    import of prefect: exit handlers run in reverse order, and Prefect sends its last log lines in one.
    """
    running = home.use(workspace)
    if running:
        return running
    port = claim(None)
    app = ["uvicorn", "--factory", "prefect.server.api.server:create_app", "--lifespan", "on", "--log-level", "error"]
    as_prefect_does = {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1", "PREFECT_UI_ENABLED": "0"}
    server, api_url = _start(workspace, [*app, "--host", HOST, "--port", str(port)], port, **as_prefect_does)
    atexit.register(stop, server)
    _wait_until_up(server, api_url, str(home.server_note(workspace).with_name(LOG)))
    home.use_temporary(api_url)
    return None


def _start(
    workspace: Workspace, module: Sequence[str], port: int, **environment: str
) -> tuple[subprocess.Popen[bytes], str]:
    """Start a Python module with its arguments as a server on `port`. Returns the process and its API URL."""
    if find_spec("prefect") is None:
        raise not_installed("prefect")
    api_url = f"http://{HOST}:{port}/api"
    log_path = home.server_note(workspace).with_name(LOG)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        server = subprocess.Popen(
            attached.command_line([sys.executable, "-m", *module]),
            env=os.environ | {"PREFECT_API_URL": api_url, "PREFECT_UI_API_URL": api_url} | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C must not reach the server: it is stopped after the runner
        )
    return server, api_url


def stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate the process group, and kill it if it does not end in time."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)


def claim(port: int | None) -> int:
    """Return `port`, or a free one. Raises BadInput if it is in use."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port or 0))
        except OSError as error:
            raise BadInput(
                f"Port {port} is in use.", next_step="Choose another port, or omit the option to use a free one."
            ) from error
        return int(probe.getsockname()[1])


def _wait_until_up(server: subprocess.Popen[bytes], api_url: str, log: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise Unreachable(f"The Prefect server ended with code {server.returncode}.", next_step=f"Read {log}.")
        if home.answers(api_url, timeout_s=1.0):
            return
        time.sleep(POLL_S)
    raise Unreachable(f"The Prefect server did not answer within {START_TIMEOUT_S:.0f} s.", next_step=f"Read {log}.")
