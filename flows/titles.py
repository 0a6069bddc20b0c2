"""What Prefect calls things: deployments, automations and flow runs."""

from __future__ import annotations

from pathlib import Path

from prefect import runtime
from prefect.client.orchestration import get_client

from models import names
from models.errors import DefectloopError
from pipelines import workspace as workspaces
from pipelines.ledger import events

STARTS = {
    events.DRIFT_DETECTED: "a drift of {line} starts retraining",
    events.LABELS_COMPLETED: "labels for {line} continue retraining",
    events.PERFORMANCE_BELOW_FLOOR: "a bad measurement of {line} starts retraining",
    events.ENOUGH_LABELS: "enough new labels for {line} start retraining",
    events.SCHEDULED: "the schedule of {line} starts retraining",
    events.APPROVED: "an approval for {line} starts retraining",
}


def deployment(flow: str, line: str) -> str:
    """Return a deployment's name, such as `retraining-solar-cells`: in Prefect's lists it stands without its flow."""
    return f"{flow.replace('_', '-')}-{names.for_tools(line)}"


def address(flow: str, line: str) -> str:
    """Return a deployment's name with its flow, by which Prefect's client finds it."""
    return f"{flow}/{deployment(flow, line)}"


def former_address(flow: str, line: str) -> str:
    """Return what older releases called the deployment."""
    return f"{flow}/{names.for_tools(line)}"


def automation(line: str, event: str) -> str:
    return STARTS[event].format(line=line)


def of_new_run() -> str:
    """Return the name of a run that starts: its flow and line. The flow names itself after its result later."""
    flow, parameters = runtime.flow_run.flow_name or "run", runtime.flow_run.parameters
    title = flow.replace("_", " ")
    if "source" in parameters:
        return f"{title} of {Path(parameters['source']).name}"
    try:
        return f"{title} of {workspaces.at(Path(parameters['workspace'])).params().line}"
    except (DefectloopError, KeyError):  # the flow itself will say what is wrong
        return title


def rename_run(title: str) -> None:
    """Rename the present flow run. Does nothing outside of one."""
    run_id = runtime.flow_run.id
    if run_id is None:
        return
    with get_client(sync_client=True) as client:
        client.set_flow_run_name(run_id, title)
