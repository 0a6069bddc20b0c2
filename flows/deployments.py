"""What `defectloop deploy` serves: every flow of one workspace with its schedule, its triggers and its limits."""

from __future__ import annotations

import asyncio

from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.runner import Runner

from flows import events
from flows.batch_inspection import batch_inspection
from flows.monitoring import monitoring
from flows.retraining import retraining
from flows.training import training
from models import names
from pipelines.ledger.events import DRIFT_DETECTED, LABELS_COMPLETED
from pipelines.workspace import Workspace

POLL_S = 2.0
ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)


def deployments(workspace: Workspace) -> list[RunnerDeployment]:
    """The deployments of a line, named after it. ENQUEUE: a drift that comes while another is handled must not be lost."""
    params = workspace.params()
    fixed = {"workspace": str(workspace.root)}
    module = {"entrypoint_type": EntrypointType.MODULE_PATH, "tags": [params.line]}
    name = names.for_tools(params.line)
    return [
        training.to_deployment(name, parameters=fixed, concurrency_limit=ONE_AT_A_TIME, **module),
        monitoring.to_deployment(
            name, parameters=fixed, cron=params.monitor.schedule, concurrency_limit=ONE_AT_A_TIME, **module
        ),
        retraining.to_deployment(
            name,
            parameters=fixed,
            concurrency_limit=ONE_AT_A_TIME,
            triggers=[retraining_trigger(params.line, event) for event in (DRIFT_DETECTED, LABELS_COMPLETED)],
            **module,
        ),
        batch_inspection.to_deployment(name, parameters=fixed, **module),
    ]


def retraining_trigger(line: str, event: str) -> DeploymentEventTrigger:
    """Start `retraining` on each such event of the line, with the id that the ledger knows it by."""
    return DeploymentEventTrigger(
        name=f"{names.for_tools(line)}: {event} starts retraining",
        expect={event},
        match={"prefect.resource.id": events.resource_id(line)},
        parameters={
            "trigger": event,
            "event_id": "{{ event.payload.event_id }}",  # the ledger's: every delivery to Prefect has an id of its own
        },
    )


def serve(workspace: Workspace) -> None:
    """Register the deployments and run what they schedule until interrupted."""
    asyncio.run(_serve(f"defectloop {names.for_tools(workspace.params().line)}", deployments(workspace)))


class _Runner(Runner):
    def handle_sigterm(self, *_: object) -> None:
        """Stop on the running loop: Prefect's own handler waits for that loop from inside it and never stops (3.8.8)."""
        self._stopping_task = asyncio.get_running_loop().create_task(self.astop())


async def _serve(name: str, served: list[RunnerDeployment]) -> None:
    runner = _Runner(name=name, query_seconds=POLL_S, pause_on_shutdown=False)
    for deployment in served:
        await runner.aadd_deployment(deployment)
    await runner.start()
