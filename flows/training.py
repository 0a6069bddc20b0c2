"""The `training` flow: from labelled data to a new champion, or to recorded reasons for refusing the new version."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prefect import flow

from flows import artifacts, attached, run_log, stages, titles
from pipelines import workspace as workspaces
from pipelines.ledger import reviews
from pipelines.ledger.ledger import Ledger
from pipelines.locks import line_lock
from pipelines.snapshots.snapshot import record_outputs
from pipelines.workspace import Workspace

LOCK_WAIT_S = 3600.0  # a second training of the same line waits for the first


@dataclass(frozen=True)
class Outcome:
    """Result of a training. `trained` is False if nothing had changed and DVC's cached result was used. A version that is
    neither promoted nor refused waits for a person."""

    version: str
    snapshot: str
    trained: bool
    promoted: bool
    refused: bool
    reasons: tuple[str, ...]
    quarantined: int
    reviewed_waiting: int = 0  # reviewed parts that no retraining has used yet


@flow(name="training", flow_run_name=titles.of_new_run)
def training(workspace: str) -> Outcome:
    """Validate, snapshot, train, export, evaluate, register and gate the workspace's data."""
    attached.end_with_runner()
    place = workspaces.at(Path(workspace))
    by = "the Prefect deployment" if attached.RUNNER in os.environ else "`defectloop train`"
    outcome = train_and_promote(place, trigger=by)
    titles.rename_run(f"training on {outcome.snapshot}, version {outcome.version}")
    return replace(outcome, reviewed_waiting=reviewed_waiting(place))


def reviewed_waiting(workspace: Workspace) -> int:
    """Return the number of reviewed parts that no retraining has used yet.

    Reviews are ingested by the retraining, in its own clone, and not here: the clone may already contain these parts, with
    a split that the data of this workspace does not know.
    """
    with Ledger.open(workspace.ledger_url) as ledger:
        return reviews.unlearned(ledger, workspace.params().line)


def train_and_promote(
    workspace: Workspace,
    trigger: str,
    triggered_slices: Sequence[str] = (),
    before_step: Callable[[str], None] = lambda step: None,
) -> Outcome:
    """Run all steps, for `training` and `retraining`. Holds the line's lock from the first step to the last.

    `trigger` says in MLflow what started the training. The new version has to be better on `triggered_slices`, whose drift
    started it; without any, on all test parts. `before_step` is called with the name of the next step, and ends the
    training if it raises.
    """
    with line_lock(workspace, workspace.params().line, wait_s=LOCK_WAIT_S):
        try:
            checked = stages.validate(workspace)
        finally:
            artifacts.validation(workspace)  # above all if the data broke the contract
        taken = stages.snapshot(workspace)
        before_step("train")
        trained = stages.train(workspace)
        before_step("export")
        stages.export(workspace)
        before_step("evaluate")
        stages.evaluate(workspace)
        record_outputs(workspace, f"Train on {taken.tag}")
        before_step("register")
        version = stages.register(workspace, trigger)
        before_step("promote")
        decision = stages.promote(workspace, version.version, triggered_slices)
    run_log.tell(artifacts.decided(version.version, decision))
    artifacts.comparison(workspace, version, decision)
    return Outcome(
        version=version.version,
        snapshot=taken.tag,
        trained=trained,
        promoted=decision.promote,
        refused=not decision.promote and not decision.waits,
        reasons=tuple(decision.reasons),
        quarantined=len(checked.quarantined),
    )
