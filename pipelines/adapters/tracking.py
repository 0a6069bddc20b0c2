"""Experiment tracking: MLflow runs. Together with `model_registry.py` the only importer of mlflow."""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import math
import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy.exc import SQLAlchemyError

from models import names
from models.errors import DefectloopError, Unreachable
from pipelines import deadlines, failures
from pipelines.adapters import moved_store
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from PIL.Image import Image

TRAIN_KEY = "defectloop.train_key"
TRIGGER, OTHER_SETTINGS, PICTURES = "trigger", "defectloop.other_settings", "defectloop.pictures"  # tags of a run
DESCRIPTION = "mlflow.note.content"
TRAINING_VIEW = "workflowType=machine_learning"
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
    workspace: Workspace, *, line: str, train_key: str, name: str, params: Mapping[str, str], tags: Mapping[str, str]
) -> str:
    """Return the id of the run of this training: one that a killed attempt began, or a new one."""
    mlflow = client(workspace)
    experiment = experiment_id(workspace, mlflow, line)
    runs = mlflow.search_runs([experiment], f"tags.`{TRAIN_KEY}` = '{train_key}'", order_by=["attributes.start_time"])
    if runs:
        run_id = runs[0].info.run_id
    else:
        own = {TRAIN_KEY: train_key, "mlflow.source.name": "pipelines.training.train", "mlflow.user": _user()}
        run_id = mlflow.create_run(experiment, run_name=name, tags={**own, **tags}).info.run_id
    log_params(workspace, run_id, params)
    return str(run_id)


def log_params(workspace: Workspace, run_id: str, params: Mapping[str, str]) -> dict[str, str]:
    """Log parameters that the run does not have yet. Returns those that it has with other values, which MLflow keeps."""
    from mlflow.entities import Param

    mlflow = client(workspace)
    logged = mlflow.get_run(run_id).data.params
    mlflow.log_batch(run_id, params=[Param(key, value) for key, value in params.items() if key not in logged])
    return {key: value for key, value in params.items() if logged.get(key, value) != value}


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
    """Return Lightning's logger for an existing run: `val_loss` becomes `val/loss`, and the step is the epoch.

    Lightning's own logger would read the tracking URI at import, so the URI is passed.
    """
    from lightning.pytorch.loggers import MLFlowLogger

    class ByEpoch(MLFlowLogger):
        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            kept = {grouped(name): value for name, value in metrics.items() if name != "epoch"}
            super().log_metrics(kept, int(metrics["epoch"]) if "epoch" in metrics else step)

    return ByEpoch(names.for_tools(line), tracking_uri=workspace.tracking_uri, run_id=run_id, log_model=False)


def grouped(name: str) -> str:
    """Return a metric of a training as `train/…` or `val/…`."""
    split, separator, rest = name.partition("_")
    return f"{split}/{rest}" if separator and split in ("train", "val") else f"train/{name}"


def finish_run(
    workspace: Workspace,
    run_id: str,
    *,
    dataset: Mapping[str, Any],
    folders: Mapping[str, Path],
    files: Sequence[Path],
    pictures: Mapping[str, Image],
) -> None:
    """Log the files of an evaluation and finish the run. Repeating it changes nothing.

    `dataset` has name, digest (the snapshot's hash), source and profile. `folders` are logged below their names, `files` at
    the root, and `pictures` by title, so that MLflow shows those of several runs side by side.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    mlflow = client(workspace)
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
    _log_pictures(mlflow, run_id, pictures)
    mlflow.set_terminated(run_id, "FINISHED")


def _log_pictures(mlflow: Any, run_id: str, pictures: Mapping[str, Image]) -> None:
    """Log the pictures unless the run has them already: MLflow would keep both."""
    content = hashlib.sha256(b"".join(title.encode() + picture.tobytes() for title, picture in pictures.items()))
    if mlflow.get_run(run_id).data.tags.get(PICTURES) == content.hexdigest():
        return
    for title, picture in pictures.items():
        mlflow.log_image(run_id, picture, key=title, step=0, synchronous=True)
    mlflow.set_tag(run_id, PICTURES, content.hexdigest())


def record(workspace: Workspace, run_id: str | None, tags: Mapping[str, str], *, name: str | None = None) -> None:
    """Tag a run, rename it if `name` is given, and write its description anew. Does nothing for a run that was deleted."""
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return
    mlflow = client(workspace)
    try:
        present = dict(mlflow.get_run(run_id).data.tags) | dict(tags)
        for key, value in ({**tags, DESCRIPTION: described(present)}).items():
            mlflow.set_tag(run_id, key, value)
        if name is not None:
            mlflow.update_run(run_id, name=name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise


def described(tags: Mapping[str, str]) -> str:
    """Return a run's description as Markdown: what started it, what the gate decided, and settings beside its parameters."""
    version, gate = tags.get("version"), tags.get("gate")
    lines = [f"**Started by:** {tags[TRIGGER]}"] if TRIGGER in tags else []
    if version is not None:
        decided = f"{gate}: {tags.get('gate_reasons', '')}" if gate else "registered, not judged by the gate"
        lines.append(f"**Version {version}:** {decided}")
    if tags.get(OTHER_SETTINGS):
        lines.append(f"**Exported from this training with other settings than its parameters:** {tags[OTHER_SETTINGS]}")
    return "\n\n".join(lines)


def runs_page(workspace: Workspace, server: str) -> str:
    """Return the address of the line's runs on an MLflow server, in the view for training. MLflow's start page is about
    language models."""
    found = client(workspace).get_experiment_by_name(names.for_tools(workspace.params().line))
    inner = f"experiments/{found.experiment_id}/runs" if found else "experiments"
    return f"{server.rstrip('/')}/#/{inner}?{TRAINING_VIEW}"


def run_page(workspace: Workspace, server: str, run_id: str) -> str:
    """Return the address of one run on an MLflow server."""
    return runs_page(workspace, server).replace("/runs?", f"/runs/{run_id}?")


def exists(workspace: Workspace) -> bool:
    """Return whether the tracking store exists; one that is no file is taken to exist."""
    own = workspace.state / "mlflow.db"
    return workspace.tracking_uri != f"sqlite:///{own}" or own.is_file()


def read_only(workspace: Workspace) -> str:
    """Return the address of the tracking store for a server that only shows it. Only SQLite files can be opened so."""
    scheme, separator, path = workspace.tracking_uri.partition("sqlite:///")
    return workspace.tracking_uri if scheme or not separator else f"sqlite:///{read_only_file(Path(path))}"


def read_only_file(database: Path) -> str:
    """Return an SQLite file as the path of a URL that opens it read-only."""
    return f"file:{quote(str(database.absolute()))}?mode=ro&uri=true"


def run_count(workspace: Workspace, line: str) -> int:
    """Return how many trainings of the line were started."""
    mlflow = client(workspace)
    return len(mlflow.search_runs([experiment_id(workspace, mlflow, line)], max_results=10_000))


def _artifact_location(workspace: Workspace, line: str) -> str | None:
    root, folder = workspace.artifact_root, names.for_tools(line)
    if root is None:
        return None
    return f"{root.rstrip('/')}/{folder}" if "://" in root else moved_store.address(Path(root).absolute() / folder)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in passwd
        return "unknown"


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
    import urllib.error
    import urllib.request

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
