"""The `training` flow: from labelled data to a champion, or to the recorded reasons why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefect import flow

from flows import artifacts, stages
from pipelines import workspace as workspaces
from pipelines.locks import line_lock
from pipelines.snapshot import record_outputs
from pipelines.workspace import Workspace

LOCK_WAIT_S = 3600.0  # a second training of the same line waits for the first


@dataclass(frozen=True)
class Outcome:
    """What a training came to. `trained` is False when the unchanged stage was taken from DVC's cache."""

    version: str
    snapshot: str
    trained: bool
    promoted: bool
    reasons: tuple[str, ...]
    quarantined: int


@flow(name="training", flow_run_name="training {workspace}")
def training(workspace: str) -> Outcome:
    """Validate, snapshot, train, export, evaluate, register and gate the workspace's data."""
    return train_and_promote(workspaces.at(Path(workspace)))


def train_and_promote(workspace: Workspace) -> Outcome:
    """The body that `training` and `retraining` share. Holds the line's lock from the first step to the last."""
    with line_lock(workspace, workspace.params().line, wait_s=LOCK_WAIT_S):
        try:
            checked = stages.validate(workspace)
        finally:
            artifacts.validation(workspace)  # also, and above all, where the contract did not hold
        taken = stages.snapshot(workspace)
        trained = stages.train(workspace)
        stages.export(workspace)
        stages.evaluate(workspace)
        record_outputs(workspace, f"Train on {taken.tag}")
        version = stages.register(workspace)
        decision = stages.promote(workspace, version.version)
    artifacts.metrics_table(workspace, version.version, decision)
    artifacts.report_link(workspace, "evaluation-report", workspace.artifacts / "evaluate" / "report.html")
    return Outcome(
        version=version.version,
        snapshot=taken.tag,
        trained=trained,
        promoted=decision.promote,
        reasons=tuple(decision.reasons),
        quarantined=len(checked.quarantined),
    )
