"""The `batch_inspection` flow: inspect a folder of production images with the champion and record them in the ledger."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task

from flows import artifacts, attached, run_log, titles
from pipelines import workspace as workspaces
from pipelines.inspection.predict import ReplayReport
from pipelines.workspace import Workspace


@flow(name="batch_inspection", flow_run_name=titles.of_new_run)
def batch_inspection(workspace: str, source: str, slice: str | None = None) -> ReplayReport:
    """Inspect every image below `source`. Running it again on the same folder adds nothing to the ledger."""
    attached.end_with_runner()
    report = inspect_folder(workspaces.at(Path(workspace)), Path(source), slice)
    run_log.tell(artifacts.inspected(report))
    artifacts.inspection(report)
    return report


@task
def inspect_folder(workspace: Workspace, source: Path, slice: str | None) -> ReplayReport:
    from pipelines.inspection.predict import replay_folder

    return replay_folder(workspace, source, slice=slice)
