"""The deployments that `defectloop deploy` serves: every flow of one workspace with its schedule and triggers.

Prefect's concurrency limits are not used, because a killed runner would hold its slot forever. Work that must not run twice
at once takes a lock in the workspace (`pipelines.locks`), which the kernel releases when the process ends.
"""

from __future__ import annotations

import asyncio
import os

from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.runner import Runner

from flows import attached, events, recovery, titles
from flows.batch_inspection import batch_inspection
from flows.monitoring import monitoring
from flows.retraining import retraining
from flows.training import training
from models import names
from pipelines.ledger.events import STARTING
from pipelines.workspace import Workspace

POLL_S = 2.0


def deployments(workspace: Workspace) -> list[RunnerDeployment]:
    """Return the deployments of the workspace's line, named after flow and line."""
    params = workspace.params()
    line = params.line
    fixed = {"workspace": str(workspace.root)}
    module = {"entrypoint_type": EntrypointType.MODULE_PATH, "tags": [params.line]}
    return [
        training.to_deployment(titles.deployment(training.name, line), parameters=fixed, **module),
        monitoring.to_deployment(
            titles.deployment(monitoring.name, line), parameters=fixed, cron=params.monitor.schedule, **module
        ),
        retraining.to_deployment(
            titles.deployment(retraining.name, line),
            parameters=fixed,
            triggers=[retraining_trigger(params.line, event) for event in STARTING],
            **module,
        ),
        batch_inspection.to_deployment(titles.deployment(batch_inspection.name, line), parameters=fixed, **module),
    ]


def retraining_trigger(line: str, event: str) -> DeploymentEventTrigger:
    """Return the trigger that starts `retraining` on each such event of the line, with the event's id in the ledger."""
    return DeploymentEventTrigger(
        name=titles.automation(line, event),
        expect={event},
        match={"prefect.resource.id": events.resource_id(line)},
        parameters={
            "trigger": event,
            "event_id": "{{ event.payload.event_id }}",  # the ledger's id; Prefect's id differs for every delivery
        },
    )


def serve(workspace: Workspace) -> None:
    """Register the deployments, recover what a killed `deploy` left, and run scheduled flows until interrupted.

    The caller holds the line's serving lock.
    """
    asyncio.run(_serve(workspace, deployments(workspace)))


class _Runner(Runner):
    def handle_sigterm(self, *_: object) -> None:
        """Stop on the running event loop. Prefect's own handler (3.8.8) blocks that loop from inside and never stops."""
        self._stopping_task = asyncio.get_running_loop().create_task(self.astop())


async def _serve(workspace: Workspace, served: list[RunnerDeployment]) -> None:
    name = f"defectloop {names.for_tools(workspace.params().line)}"
    runner = _Runner(name=name, query_seconds=POLL_S, pause_on_shutdown=False)
    os.environ[attached.RUNNER] = str(os.getpid())  # inherited by every flow run
    flows = [training, monitoring, retraining, batch_inspection]
    await asyncio.to_thread(recovery.remove_former, workspace, [flow.name for flow in flows])
    ids = [await runner.aadd_deployment(deployment) for deployment in served]
    await asyncio.to_thread(recovery.recover, workspace, ids)
    await runner.start()
