"""What a killed `defectloop deploy` left: runs that Prefect takes for running, and requests that nobody works on."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

from flows import events
from flows.retraining import MANUAL, retraining
from models import names
from pipelines.ledger import requests
from pipelines.ledger.events import mark_sent, waiting
from pipelines.ledger.ledger import Ledger
from pipelines.workspace import Workspace

UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def take_up(workspace: Workspace, deployments: Sequence[UUID]) -> None:
    """Close the runs of dead processes and start a retraining for whatever waits for one.

    Whoever calls this holds the line's serving lock and has not started a run yet: whatever is under way in this workspace's
    deployments belonged to a process that is gone.
    """
    with get_client(sync_client=True) as client:
        close_dead_runs(client, workspace, deployments)
        start_what_waits(client, workspace)


def close_dead_runs(client: SyncPrefectClient, workspace: Workspace, deployments: Sequence[UUID]) -> int:
    """Prefect waits for ever for a run whose runner was killed; returns how many were closed."""
    left = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNDER_WAY))),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(deployments))),
    )
    ours = [run for run in left if run.parameters.get("workspace") == str(workspace.root)]
    for run in ours:
        client.set_flow_run_state(run.id, Crashed(message="Its `defectloop deploy` was killed."), force=True)
    return len(ours)


def start_what_waits(client: SyncPrefectClient, workspace: Workspace) -> int:
    """A run for every event that no request answers for, and for a request that stands still; returns how many.

    Created here and not by sending the events again: a trigger that was registered a moment ago may miss one.
    """
    line = workspace.params().line
    if events.is_retrained(workspace, line):  # by `defectloop retrain`
        return 0
    deployment = client.read_deployment_by_name(f"{retraining.name}/{names.for_tools(line)}").id
    with Ledger.open(workspace.ledger_url) as ledger:
        unanswered = waiting(ledger, line)
        for event in unanswered:
            parameters = {"trigger": event.name, "event_id": event.id}
            client.create_flow_run_from_deployment(deployment, parameters=parameters)
            mark_sent(ledger, event.id)
        if not unanswered and requests.standing_still(ledger, line):  # a person asked for it
            client.create_flow_run_from_deployment(deployment, parameters={"trigger": MANUAL})
            return 1
    return len(unanswered)
