"""`defectloop deploy` in the background: the local Prefect server and the runner, as an operator would start them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx

from flows import attached, home
from flows.local_server import stop
from models.errors import Unreachable
from pipelines.workspace import Workspace

START_TIMEOUT_S = 120.0
POLL_S = 0.3


@contextlib.contextmanager
def deployed(place: Workspace) -> Iterator[None]:
    """Serve the workspace's deployments during the block. Their output goes to `deploy.log`."""
    log = place.state / "deploy.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "flows.cli", "deploy", "--workspace", str(place.root)]
    with log.open("ab") as sink:
        server = subprocess.Popen(
            attached.command_line(command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            cwd=place.root,
        )
    try:
        _wait(server, lambda: home.running(place), f"Read {log}.")
        home.use(place)
        yield
    finally:
        stop(server)


def wait_until_serving(line: str) -> None:
    """Wait until the runner has registered its deployments and triggers. Raises Unreachable after a timeout."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    from flows import titles

    deadline = time.monotonic() + START_TIMEOUT_S
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(ObjectNotFound):
                client.read_deployment_by_name(titles.address("batch_inspection", line))  # the last to be registered
                return
            time.sleep(POLL_S)
    raise Unreachable("The runner has not registered its deployments.", next_step="Read deploy.log.")


def started_by(flow_run_id: str) -> str:
    """Return who or what created a flow run, as named by the server: for a trigger, the name of the automation."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        creator = client.read_flow_run(flow_run_id).created_by  # type: ignore[arg-type]
    return str(creator.display_value) if creator else "unknown"


def is_retraining(line: str) -> bool:
    """Return whether a run of the line's `retraining` deployment has not ended yet. False if no server answers."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    from flows import titles
    from flows.recovery import UNDER_WAY

    unfinished = FlowRunFilterStateType(any_=[*UNDER_WAY, StateType.SCHEDULED])
    with get_client(sync_client=True) as client, contextlib.suppress(httpx.TransportError):
        deployment = client.read_deployment_by_name(titles.address("retraining", line))
        left = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=unfinished)),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        )
        return bool(left)
    return False


def overhead_s(flow_run_id: str) -> float:
    """Return the run time of the flow without its tasks, in seconds."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    with get_client(sync_client=True) as client:
        run: Any = client.read_flow_run(flow_run_id)  # type: ignore[arg-type]
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        tasks = client.read_task_runs(flow_run_filter=chosen, limit=200)
    whole = run.total_run_time.total_seconds()
    return round(float(whole - sum(task.total_run_time.total_seconds() for task in tasks)), 2)


def _wait(server: subprocess.Popen[bytes], ready: Any, advice: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise Unreachable(f"defectloop deploy ended with code {server.returncode}.", next_step=advice)
        if ready():
            return
        time.sleep(POLL_S)
    raise Unreachable(f"defectloop deploy did not start within {START_TIMEOUT_S:.0f} s.", next_step=advice)
