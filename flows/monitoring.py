"""The `monitoring` flow: compare production with the champion's reference and send an event on drift."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task

from flows import artifacts, attached, events, home, run_log, titles
from pipelines import progress
from pipelines import workspace as workspaces
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck
from pipelines.retraining import retrain
from pipelines.review import campaign
from pipelines.workspace import Workspace


@flow(name="monitoring", flow_run_name=titles.of_new_run)
def monitoring(workspace: str) -> DriftCheck:
    """Check the latest inspections for drift, and send every event that no retraining request has taken yet."""
    attached.end_with_runner()
    place = workspaces.at(Path(workspace))
    finish_interrupted(place)
    watch_champion(place)
    check = check_drift(place)
    end_expired_campaigns(place)
    ask_policy(place)
    announce(place)
    run_log.tell(check.explanation)
    artifacts.drift(check)
    titles.rename_run(title_of(check))
    return check


def title_of(check: DriftCheck) -> str:
    """Return what a drift check is called in Prefect: `drift check 2 of poly: drift`."""
    if not check.judged:
        return f"drift check of {check.line}: too few parts"
    found = "drift" if check.drifted else "no drift"
    return f"drift check {check.id}" + (f" of {check.slice}" if check.slice else "") + f": {found}"


@task
def finish_interrupted(workspace: Workspace) -> int:
    """Finish promotions and rollbacks whose process was killed. Returns their number."""
    from pipelines.promotion.promote import finish_interrupted

    return len(finish_interrupted(workspace))


@task
def watch_champion(workspace: Workspace) -> str | None:
    """Compare a new champion's first parts with its evaluation, and roll back if the policy says so.

    A version that waits in the champion's shadow is promoted if it has judged enough parts.
    """
    from pipelines.promotion.watch import after_shadow, watch

    decided = after_shadow(workspace)
    if decided is not None:
        run_log.tell("; ".join(decided.reasons))
    found = watch(workspace)
    if found is None:
        return None
    with run_log.copied():
        progress.say(f"monitor: {found}")
    return str(found)


@task
def check_drift(workspace: Workspace) -> DriftCheck:
    from pipelines.monitoring.monitor import monitor

    return monitor(workspace)


@task
def end_expired_campaigns(workspace: Workspace) -> int:
    params = workspace.params()
    with Ledger.open(workspace.ledger_url) as ledger:
        return len(campaign.end_expired(ledger, params.line, params.retrain))


@task
def ask_policy(workspace: Workspace) -> str | None:
    """Store the event of enough new labels or of the schedule if it is due. Returns its name."""
    params = workspace.params()
    with Ledger.open(workspace.ledger_url) as ledger:
        due = retrain.announce_due(ledger, params.line, params.retrain)
    return due.name if due else None


@task(retries=3, retry_delay_seconds=[1, 5, 20])  # the server may be restarting
def announce(workspace: Workspace) -> int:
    """Send the events that no retraining request has taken yet. Returns their number.

    Without `defectloop deploy` or a shared server, the flow runs on a temporary server that has no triggers. The events
    then wait in the ledger for a run with a lasting server.
    """
    if not home.has_lasting_server():
        return 0
    return events.send_waiting(workspace, "The events are kept in the ledger. Send them again: defectloop monitor")
