"""One Prefect task per step of work. Tasks only delegate; the work is done in `pipelines`.

Tasks have no retries: each step is resumable and its error says what is missing, so a person or the next run repeats it.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task

from flows import run_log
from pipelines import line_defect_rate, progress
from pipelines.adapters.dataset_versions import run_stage
from pipelines.adapters.model_registry import ModelVersion
from pipelines.promotion.gate import Decision
from pipelines.snapshots.snapshot import Snapshot
from pipelines.validation.validate import ValidationReport
from pipelines.workspace import Workspace


@task
def validate(workspace: Workspace) -> ValidationReport:
    from pipelines.validation.validate import validate

    with run_log.copied(), progress.working("validate"):
        return validate(workspace)


@task
def snapshot(workspace: Workspace) -> Snapshot:
    from pipelines.snapshots.snapshot import snapshot

    with run_log.copied(), progress.working("snapshot"):
        return snapshot(workspace)


@task
def train(workspace: Workspace) -> bool:
    with run_log.copied():
        return run_stage(workspace, "train")


@task
def export(workspace: Workspace) -> bool:
    with run_log.copied():
        return run_stage(workspace, "export", force=line_defect_rate.outdated(workspace))


@task
def evaluate(workspace: Workspace) -> bool:
    with run_log.copied():
        return run_stage(workspace, "evaluate")


@task
def register(workspace: Workspace, trigger: str) -> ModelVersion:
    from pipelines.training.register import register

    with progress.working("register"):
        return register(workspace, trigger)


@task
def promote(workspace: Workspace, version: str, triggered_slices: Sequence[str] = ()) -> Decision:
    from pipelines.promotion.promote import promote

    with progress.working("promote"):
        return promote(workspace, version, triggered_slices=triggered_slices)
