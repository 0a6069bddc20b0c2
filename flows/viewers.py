"""Opens MLflow, Prefect and the reports of a workspace for looking: `defectloop ui`.

Both databases are opened read-only, so nothing that is clicked changes them, and Prefect's server runs without its services,
so no schedule or trigger starts a run. Servers that other people or `defectloop deploy` run are named, not started.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from flows import attached, home, local_server, report_server
from models.errors import Unreachable
from pipelines.adapters import tracking
from pipelines.workspace import Workspace

HOST = local_server.HOST
POLL_S = 0.2


@dataclass(frozen=True)
class Viewers:
    """Addresses for a browser. None: there is nothing to show yet."""

    mlflow: str | None
    prefect: str | None
    reports: str


@dataclass(frozen=True)
class _Server:
    name: str
    process: subprocess.Popen[bytes]
    health: str
    log: Path


@dataclass
class Servers:
    """The servers that were started here. Their logs are in `.defectloop/ui/`."""

    workspace: Workspace
    scratch: Path  # for what the servers write beside the databases
    running: list[_Server] = field(default_factory=list)

    def start(self, name: str, module: Sequence[str], health: str, settings: dict[str, str]) -> None:
        log = self.workspace.state / "ui" / f"{name.lower()}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as sink:
            process = subprocess.Popen(
                attached.command_line([sys.executable, "-m", *module]),
                env=os.environ | settings,
                cwd=self.scratch,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,  # Ctrl-C reaches this process, which stops the server
            )
        self.running.append(_Server(name, process, health, log))

    def stop(self) -> None:
        for server in self.running:
            local_server.stop(server.process)

    def wait_until_up(self) -> None:
        """Raise Unreachable if a server ends, or does not answer in time."""
        deadline = time.monotonic() + local_server.START_TIMEOUT_S
        waiting = list(self.running)
        while waiting:
            self.require_alive()
            waiting = [server for server in waiting if not _answers(server.health)]
            if waiting and time.monotonic() > deadline:
                _fail(waiting[0], f"did not answer within {local_server.START_TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)

    def require_alive(self) -> None:
        for server in self.running:
            if server.process.poll() is not None:
                _fail(server, f"ended with code {server.process.returncode}")


@contextmanager
def opened(
    workspace: Workspace, mlflow_port: int | None, prefect_port: int | None, reports_port: int | None
) -> Iterator[tuple[Viewers, Servers]]:
    """Start what does not run yet, and yield the addresses. Everything that was started is stopped at the end.

    Raises BadInput if a port is in use, and Unreachable if a server does not start.
    """
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="defectloop-ui-"))
        servers = Servers(workspace, Path(scratch))
        stack.callback(servers.stop)
        mlflow = _mlflow(servers, mlflow_port)
        prefect = _prefect(servers, prefect_port)
        port = local_server.claim(reports_port)
        stack.enter_context(report_server.served(workspace, HOST, port))
        servers.wait_until_up()
        yield Viewers(mlflow, prefect, f"http://{HOST}:{port}/"), servers


def watch(servers: Servers) -> NoReturn:
    """Wait until interrupted. Raises Unreachable if a server ends by itself."""
    while True:
        servers.require_alive()
        time.sleep(POLL_S)


def _mlflow(servers: Servers, port: int | None) -> str | None:
    workspace = servers.workspace
    if tracking.is_server(workspace.tracking_uri):
        return tracking.runs_page(workspace, workspace.tracking_uri)
    if not tracking.exists(workspace):
        return None
    port = local_server.claim(port)
    server = f"http://{HOST}:{port}"
    page = tracking.runs_page(workspace, server)
    arguments = ["--host", HOST, "--port", str(port), "--workers", "1", "--no-serve-artifacts"]
    command = ["mlflow", "server", *arguments, "--backend-store-uri", tracking.read_only(workspace)]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    servers.start("MLflow", command, f"{server}/health", quiet)
    return page


def _prefect(servers: Servers, port: int | None) -> str | None:
    running = home.use(servers.workspace)  # the server that PREFECT_API_URL names, or that of `defectloop deploy`
    if running:
        return running.removesuffix("/api")
    database = servers.workspace.state / "prefect" / "prefect.db"
    if not database.is_file():
        return None
    port = local_server.claim(port)
    api = f"http://{HOST}:{port}/api"
    settings = {
        "PREFECT_HOME": str(servers.scratch / "prefect"),
        "PREFECT_API_URL": api,
        "PREFECT_UI_API_URL": api,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{tracking.read_only_file(database)}",
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    }
    command = ["prefect", "server", "start", "--no-services", "--host", HOST, "--port", str(port)]
    servers.start("Prefect", command, f"{api}/health", settings)
    return api.removesuffix("/api")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _fail(server: _Server, how: str) -> NoReturn:
    raise Unreachable(f"{server.name}'s server {how}.", next_step=f"Read {server.log}.")
