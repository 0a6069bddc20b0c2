"""Experiment tracking: MLflow runs. Together with `model_registry.py` the only importer of mlflow."""

from __future__ import annotations

import fcntl
import json
import math
import os
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from models import names
from models.errors import DefectloopError, Unreachable
from pipelines import deadlines, failures
from pipelines.adapters import moved_store
from pipelines.workspace import Workspace

TRAIN_KEY = "defectloop.train_key"
PROBE_TIMEOUT_S = 5.0
NEXT_STEP = "Check MLFLOW_TRACKING_URI and the server's log."
ANSWERS = ("RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "INVALID_STATE")
LONGEST_REASON = 300  # characters; some errors contain a whole HTML page
_MIGRATED: set[str] = set()
_guard = threading.Lock()


def client(workspace: Workspace) -> Any:
    """Return an MlflowClient of the workspace's tracking store.

    Raises Unreachable, also in each of the client's calls, if a server does not answer in time or is not MLflow.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    uri = workspace.tracking_uri
    if is_server(uri):  # MLflow's default is eight attempts of two minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(math.ceil(deadlines.call_s() / deadlines.TRIES)))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(deadlines.TRIES - 1))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
        _probe(uri)
    from mlflow import MlflowClient

    _resolve_addresses_at(uri)
    with _guard:
        if uri not in _MIGRATED:
            _migrate(workspace)
            _MIGRATED.add(uri)
    made = MlflowClient(tracking_uri=uri, registry_uri=uri)
    return deadlines.Bounded(made, _named(uri), NEXT_STEP, partial(_translated, uri)) if is_server(uri) else made


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def start_run(
    workspace: Workspace, *, line: str, train_key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
) -> str:
    """Return the id of the run of this training: one that a killed attempt began, or a new one. Parameters are flattened."""
    from mlflow.entities import Param

    mlflow = client(workspace)
    experiment = experiment_id(workspace, mlflow, line)
    runs = mlflow.search_runs([experiment], f"tags.`{TRAIN_KEY}` = '{train_key}'", order_by=["attributes.start_time"])
    if runs:
        run_id = runs[0].info.run_id
    else:
        labels = {TRAIN_KEY: train_key, "mlflow.source.name": "pipelines.training.train", **tags}
        run_id = mlflow.create_run(experiment, run_name=name, tags=labels).info.run_id
    mlflow.log_batch(run_id, params=[Param(key, str(value)) for key, value in _flat(params)])
    return str(run_id)


def experiment_id(workspace: Workspace, mlflow: Any, line: str) -> str:
    """Return the id of the line's experiment, creating it if needed."""
    from mlflow.exceptions import MlflowException

    name = names.for_tools(line)
    experiment = mlflow.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(mlflow.create_experiment(name, artifact_location=_artifact_location(workspace, line)))
        except MlflowException:  # another process created it between the two calls
            experiment = mlflow.get_experiment_by_name(name)
            if experiment is None:
                raise
    return str(experiment.experiment_id)


def lightning_logger(workspace: Workspace, line: str, run_id: str) -> Any:
    """Return Lightning's logger for an existing run. It would read the tracking URI at import, so the URI is passed."""
    from lightning.pytorch.loggers import MLFlowLogger

    return MLFlowLogger(names.for_tools(line), tracking_uri=workspace.tracking_uri, run_id=run_id, log_model=False)


def finish_run(
    workspace: Workspace,
    run_id: str,
    *,
    metrics: Mapping[str, float],
    dataset: Mapping[str, Any],
    folders: Mapping[str, Path],
    files: Sequence[Path],
) -> None:
    """Log the results of an evaluation and finish the run. Repeating it changes nothing.

    `dataset` has name, digest (the snapshot's hash), source and profile. `folders` are logged below their names, `files` at
    the root.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

    mlflow = client(workspace)
    logged = mlflow.get_run(run_id).data.metrics
    moment = int(time.time() * 1000)
    new = [Metric(name, value, moment, 0) for name, value in metrics.items() if logged.get(name) != value]
    mlflow.log_batch(run_id, metrics=new)
    entity = Dataset(
        name=dataset["name"],
        digest=dataset["digest"],
        source_type="dvc",
        source=json.dumps(dataset["source"]),
        profile=json.dumps(dataset["profile"]),
    )
    mlflow.log_inputs(run_id, datasets=[DatasetInput(entity, tags=[InputTag("mlflow.data.context", "training")])])
    for name, folder in folders.items():
        if not folder.is_dir():
            continue  # no gallery without mistakes; no Data Docs if the data was validated elsewhere
        mlflow.log_artifacts(run_id, str(folder), name)
    for path in files:
        mlflow.log_artifact(run_id, str(path))
    mlflow.set_terminated(run_id, "FINISHED")


def run_count(workspace: Workspace, line: str) -> int:
    """Return how many trainings of the line were started."""
    mlflow = client(workspace)
    return len(mlflow.search_runs([experiment_id(workspace, mlflow, line)], max_results=10_000))


def _artifact_location(workspace: Workspace, line: str) -> str | None:
    root, folder = workspace.artifact_root, names.for_tools(line)
    if root is None:
        return None
    return f"{root.rstrip('/')}/{folder}" if "://" in root else moved_store.address(Path(root).absolute() / folder)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in tree.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return rows


def _migrate(workspace: Workspace) -> None:
    """Create or migrate the store once, under a lock, because concurrent processes fail on a new SQLite file."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    path = workspace.state / "locks" / "mlflow.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        uri, own = workspace.tracking_uri, workspace.state / "mlflow.db"
        is_own = uri == f"sqlite:///{own}"
        try:
            if is_own and own.exists() and workspace.artifact_root == str(workspace.state / "mlartifacts"):
                moved_store.follow(own, workspace.state / "mlartifacts")
            first = MlflowClient(tracking_uri=uri)
            if is_server(uri):  # a server migrates its own store; only check that it is MLflow
                ask = partial(first.search_experiments, max_results=1)
                deadlines.within(ask, _named(uri), next_step=NEXT_STEP)
            else:
                first.search_experiments(max_results=1)
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
            if is_server(uri):
                raise _translated(uri, error) from error
            if failures.is_damage(error):
                raise DefectloopError(
                    f"The tracking store {own if is_own else uri} is damaged.",
                    next_step="Restore it from a backup. Without a backup, move it away and run `defectloop train`, which "
                    "starts a new registry without the earlier versions.",
                ) from error
            raise DefectloopError(
                f"The tracking store {workspace.tracking_uri} cannot be opened: {failures.short(error)}.",
                next_step="Check MLFLOW_TRACKING_URI, the free disk space and the permissions.",
            ) from error


def _resolve_addresses_at(uri: str) -> None:
    """Set the store for `models:/` addresses, which MLflow's module resolves, without changing the environment."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    if before is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = before


def _named(uri: str) -> str:
    return f"The tracking server {uri}"


def _translated(uri: str, error: Exception) -> Exception:
    """Return Unreachable, unless the error is a regular answer of MLflow, such as an unknown version."""
    from mlflow.exceptions import MlflowException

    if not isinstance(error, MlflowException) or error.error_code in ANSWERS:
        return error
    reason = str(error).strip().splitlines()[0][:LONGEST_REASON].rstrip(".")
    return Unreachable(f"{_named(uri)} does not answer correctly: {reason}.", next_step=NEXT_STEP)


def _probe(uri: str) -> None:
    def ask() -> None:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S):
            return

    try:
        deadlines.within(ask, _named(uri), next_step=NEXT_STEP)
    except (urllib.error.URLError, OSError) as error:
        raise Unreachable(
            f"The tracking server {uri} does not answer ({getattr(error, 'reason', error)}).",
            next_step="Start it, or unset MLFLOW_TRACKING_URI to use the workspace's own store.",
        ) from error
