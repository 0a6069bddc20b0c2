"""Recovery after a killed `defectloop deploy`: flow runs that Prefect still shows as running, and stalled requests."""

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
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from flows import events, titles
from flows.retraining import MANUAL, retraining
from pipelines.ledger import requests
from pipelines.ledger.events import mark_sent, waiting
from pipelines.ledger.ledger import Ledger
from pipelines.workspace import Workspace

UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def recover(workspace: Workspace, deployments: Sequence[UUID]) -> None:
    """Close the flow runs of dead processes, and start a retraining for events and requests that wait for one.

    The caller holds the line's serving lock and has not started a run yet. So every unfinished run of this workspace's
    deployments belongs to a process that has ended.
    """
    with get_client(sync_client=True) as client:
        close_dead_runs(client, workspace, deployments)
        start_pending_runs(client, workspace)


def remove_former(workspace: Workspace, flows: Sequence[str]) -> int:
    """Remove this workspace's deployments under the names of older releases, with their automations. Returns their number.

    Otherwise a drift would start two runs, one of them for a deployment that nobody serves. Their runs stay listed; those
    that a killed process left are closed first.
    """
    line = workspace.params().line
    removed = 0
    with get_client(sync_client=True) as client:
        for flow in flows:
            try:
                former = client.read_deployment_by_name(titles.former_address(flow, line))
            except ObjectNotFound:
                continue
            if former.parameters.get("workspace") != str(workspace.root):  # a line of another workspace
                continue
            close_dead_runs(client, workspace, [former.id])
            client.delete_resource_owned_automations(f"prefect.deployment.{former.id}")
            client.delete_deployment(former.id)
            removed += 1
    return removed


def close_dead_runs(client: SyncPrefectClient, workspace: Workspace, deployments: Sequence[UUID]) -> int:
    """Mark the runs of killed runners as crashed, because Prefect would wait for them forever. Returns their number."""
    left = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNDER_WAY))),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(deployments))),
    )
    ours = [run for run in left if run.parameters.get("workspace") == str(workspace.root)]
    for run in ours:
        client.set_flow_run_state(run.id, Crashed(message="Its `defectloop deploy` was killed."), force=True)
    return len(ours)


def start_pending_runs(client: SyncPrefectClient, workspace: Workspace) -> int:
    """Start a run for every event that no request has taken, or else for a stalled request. Returns the number of runs.

    The runs are created directly. Sending the events again is not reliable, because a trigger may miss events in the first
    moments after its registration.
    """
    line = workspace.params().line
    if events.is_retrained(workspace, line):  # `defectloop retrain` is running
        return 0
    deployment = client.read_deployment_by_name(titles.address(retraining.name, line)).id
    with Ledger.open(workspace.ledger_url) as ledger:
        unanswered = waiting(ledger, line)
        for event in unanswered:
            parameters = {"trigger": event.name, "event_id": event.id}
            client.create_flow_run_from_deployment(deployment, parameters=parameters)
            mark_sent(ledger, event.id)
        if not unanswered and requests.has_stalled(ledger, line):  # a request that a person made
            client.create_flow_run_from_deployment(deployment, parameters={"trigger": MANUAL})
            return 1
    return len(unanswered)
