"""The `monitoring` flow: compare production with the champion's reference and announce a drift as an event."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

from prefect import flow, task

from flows import artifacts, events
from pipelines import workspace as workspaces
from pipelines.ledger import drift_checks
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck
from pipelines.workspace import Workspace


@flow(name="monitoring", flow_run_name="monitoring {workspace}")
def monitoring(workspace: str) -> DriftCheck:
    """Check the latest inspections for drift; every found drift that was not announced yet becomes an event."""
    place = workspaces.at(Path(workspace))
    check = check_drift(place)
    announce(place)
    artifacts.drift_table(check)
    if check.report:
        artifacts.report_link(place, "drift-report", Path(check.report))
    return check


@task
def check_drift(workspace: Workspace) -> DriftCheck:
    from pipelines.monitor import monitor

    return monitor(workspace)


@task(retries=3, retry_delay_seconds=[1, 5, 20])  # the server may be restarting
def announce(workspace: Workspace) -> int:
    """Send the event of every drift check that has none confirmed yet; returns how many went out.

    Without a server of its own, or a shared one, Prefect starts a temporary one for the length of the flow: nothing there
    listens, so the events wait for a run that has one.
    """
    if not os.environ.get("PREFECT_API_URL"):
        return 0
    with Ledger.open(workspace.ledger_url) as ledger:
        waiting = drift_checks.unannounced(ledger, workspace.params().line)
        for check in waiting:
            events.send(
                events.DRIFT_DETECTED,
                line=check.line,
                event_id=UUID(check.event_id or ""),
                again="The drift check is kept; the next `defectloop monitor` sends it again.",
                payload={"drift_check": check.id, "share_drifted": check.share_drifted, "top": check.top_descriptors},
            )
            drift_checks.mark_announced(ledger, check.id)
    return len(waiting)
