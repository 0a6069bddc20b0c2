"""The model registry: MLflow. Together with `tracking.py` the only importer of mlflow.

A version contains the exported file, byte for byte, and the drift reference on which it was accepted. Reading goes through
`registry_reading`, which does not import mlflow, wherever that is possible.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import platform
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import names
from models.errors import DefectloopError, NotReady, Unreachable
from pipelines import deadlines
from pipelines.adapters import registry_reading, tracking
from pipelines.adapters.registry_reading import ThroughMlflow
from pipelines.workspace import Workspace

CHAMPION, CHALLENGER = "champion", "challenger"
ARTEFACT = "artefact_sha256"
LONGEST, CUT = 5000, "\n\n… the complete card is an artifact of the run."  # limit of the registry's column
FILE, REFERENCE = "model.onnx", "reference.parquet"
REGISTERED_AS = "mlflow.modelVersions"  # MLflow's tag of a logged model
HASH_TAGS = {FILE: ARTEFACT, REFERENCE: "reference_sha256"}  # older versions have no hash of the reference

SLOW = "Check the server's log. If the network is slow, increase DEFECTLOOP_DEADLINE_S."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelVersion:
    """A registered version. `tags` hold snapshot, git_commit, artefact_sha256, slices and the gate's decision."""

    line: str
    version: str
    mlflow_run_id: str
    source: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    description: str = ""


def champion(workspace: Workspace, line: str) -> ModelVersion | None:
    """Return the version with the alias `champion`, or None before the first promotion."""
    named = _named(workspace, line, CHAMPION)
    return _version(line, named) if named else None


def alias(workspace: Workspace, line: str, name: str) -> str | None:
    """Return the number of the version with this alias, or None."""
    named = _named(workspace, line, name)
    return str(named.version) if named else None


def version(workspace: Workspace, line: str, number: str) -> ModelVersion:
    """Return a version by its number. Raises NotReady if it does not exist."""
    try:
        found: Any = registry_reading.by_number(workspace, names.for_tools(line), number)
    except ThroughMlflow:
        found = _version_through_mlflow(workspace, line, number)
    if found is None:
        raise NotReady(
            f"Line {line} has no version {number}.",
            next_step="See the registered versions: defectloop status",
        )
    return _version(line, found)


def versions(workspace: Workspace, line: str) -> list[ModelVersion]:
    """Return all versions of the line, oldest first."""
    try:
        listed = [_version(line, entry) for entry in registry_reading.all_of(workspace, names.for_tools(line))]
    except ThroughMlflow:
        listed = _versions_through_mlflow(workspace, line)
    return sorted(listed, key=lambda entry: int(entry.version))


def register(
    workspace: Workspace,
    line: str,
    artefact: Path,
    reference: Path,
    *,
    run_id: str,
    description: str,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    metrics: Mapping[str, float],
    dataset: Mapping[str, Any],
    example: Any = None,
) -> ModelVersion:
    """Return the version of this file, registering it if needed. The same file never becomes two versions.

    `description` is Markdown, shown on the version's page in the registry. `params` and `metrics` are those of this file,
    measured on `dataset` (name and digest); `example` is one image as the graph reads it, uint16 [1, H, W, C].
    """
    file_sha256 = sha256(artefact)
    mlflow = tracking.client(workspace)
    from mlflow.exceptions import MlflowException

    try:
        mlflow.create_registered_model(
            names.for_tools(line), description=f"Detectors of line {line}, exported by defectloop."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise _unreachable(workspace, error) from error
    registered_before = [entry for entry in versions(workspace, line) if entry.tags.get(ARTEFACT) == file_sha256]
    if registered_before:
        _link(mlflow, registered_before[0])
        return registered_before[0]
    model = _logged_model(workspace, mlflow, line, artefact, reference, run_id, file_sha256, params, example)
    _log_metrics(mlflow, run_id, model, metrics, dataset)
    made = mlflow.create_model_version(
        names.for_tools(line),
        source=f"models:/{model.model_id}",
        run_id=run_id,
        model_id=model.model_id,
        description=description if len(description) <= LONGEST else f"{description[: LONGEST - len(CUT)]}{CUT}",
        tags={**tags, ARTEFACT: file_sha256, HASH_TAGS[REFERENCE]: sha256(reference)},
    )
    registered = _version(line, made)
    _link(mlflow, registered)
    return registered


def _log_metrics(
    mlflow: Any, run_id: str, model: Any, metrics: Mapping[str, float], dataset: Mapping[str, Any]
) -> None:
    """Log the metrics that the model does not have yet, for the model and its run."""
    from mlflow.entities import Metric

    logged = {metric.key: metric.value for metric in mlflow.get_logged_model(model.model_id).metrics or []}
    moment = int(time.time() * 1000)
    of = {"model_id": model.model_id, "dataset_name": dataset["name"], "dataset_digest": dataset["digest"]}
    new = [Metric(name, value, moment, 0, **of) for name, value in metrics.items() if logged.get(name) != value]
    mlflow.log_batch(run_id, metrics=new)


def _link(mlflow: Any, registered: ModelVersion) -> None:
    """Name the version on the logged model's page. MLflow's `register_model` does so, its client does not."""
    from mlflow.exceptions import MlflowException

    model_id = registered.source.removeprefix("models:/")
    this = {"name": names.for_tools(registered.line), "version": registered.version}
    try:
        linked = json.loads(mlflow.get_logged_model(model_id).tags.get(REGISTERED_AS, "[]"))
        if this not in linked:
            mlflow.set_logged_model_tags(model_id, {REGISTERED_AS: json.dumps([*linked, this])})
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # somebody deleted the logged model
            raise


def set_alias(workspace: Workspace, line: str, alias: str, number: str) -> None:
    tracking.client(workspace).set_registered_model_alias(names.for_tools(line), alias, number)


def drop_alias(workspace: Workspace, line: str, alias: str) -> None:
    tracking.client(workspace).delete_registered_model_alias(names.for_tools(line), alias)


def set_tags(workspace: Workspace, line: str, number: str, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        tracking.client(workspace).set_model_version_tag(names.for_tools(line), number, key, value)


def drop_tag(workspace: Workspace, line: str, number: str, key: str) -> None:
    tracking.client(workspace).delete_model_version_tag(names.for_tools(line), number, key)


def download(workspace: Workspace, chosen: ModelVersion) -> Path:
    """Return the path of the exported file. It is downloaded once, and verified against its registered hash every time.

    An altered or truncated copy is downloaded again. Raises DefectloopError if the registry's own file differs too.
    """
    return _verified(workspace, chosen, FILE)


def reference(workspace: Workspace, chosen: ModelVersion) -> Path:
    """Return the path of the version's drift reference, verified against its hash if the version has one."""
    return _verified(workspace, chosen, REFERENCE)


def _named(workspace: Workspace, line: str, name: str) -> Any | None:
    try:
        return registry_reading.by_alias(workspace, names.for_tools(line), name)
    except ThroughMlflow:
        return _named_through_mlflow(workspace, line, name)


def _version_through_mlflow(workspace: Workspace, line: str, number: str) -> Any | None:
    mlflow = tracking.client(workspace)
    from mlflow.exceptions import MlflowException

    try:
        return mlflow.get_model_version(names.for_tools(line), number)
    except MlflowException:
        return None


def _versions_through_mlflow(workspace: Workspace, line: str) -> list[ModelVersion]:
    entries = tracking.client(workspace).search_model_versions(f"name = '{names.for_tools(line)}'", max_results=10_000)
    by_alias: dict[str, list[str]] = {}
    if entries:
        registered = tracking.client(workspace).get_registered_model(names.for_tools(line))
        for alias, number in registered.aliases.items():
            by_alias.setdefault(str(number), []).append(alias)
    return [_version(line, entry, by_alias.get(str(entry.version), [])) for entry in entries]


def _named_through_mlflow(workspace: Workspace, line: str, name: str) -> Any | None:
    mlflow = tracking.client(workspace)
    from mlflow.exceptions import MlflowException

    try:
        return mlflow.get_model_version_by_alias(names.for_tools(line), name)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise _unreachable(workspace, error) from error


def _verified(workspace: Workspace, chosen: ModelVersion, name: str) -> Path:
    path = workspace.state / "models" / chosen.tags[ARTEFACT] / name
    expected = chosen.tags.get(HASH_TAGS[name])
    if path.is_file() and expected in (None, sha256(path)):
        return path
    if path.is_file():
        log.warning("%s differs from registered version %s. Downloading it again.", path, chosen.version)
    _fetch(workspace, chosen, path.parent)
    return path


def _fetch(workspace: Workspace, chosen: ModelVersion, folder: Path) -> None:
    """Download and verify the version's files into `folder`. Each is replaced atomically, so concurrent calls are safe."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as partial:
        try:
            model = names.for_tools(chosen.line)
            registry_reading.copy_files(workspace, model, chosen.version, list(HASH_TAGS), Path(partial))
            fetched = Path(partial)
        except (ThroughMlflow, OSError):
            fetched = _fetch_through_mlflow(workspace, chosen, partial)
        for name, tag in HASH_TAGS.items():
            expected, actual = chosen.tags.get(tag), sha256(fetched / name)
            if expected not in (None, actual):
                raise DefectloopError(
                    f"Version {chosen.version} of line {chosen.line} was altered after its registration: the registry's "
                    f"{name} has the hash {actual} instead of {expected}.",
                    next_step="Do not use it. Roll back: defectloop rollback",
                )
        for name in HASH_TAGS:
            (fetched / name).replace(folder / name)


def _fetch_through_mlflow(workspace: Workspace, chosen: ModelVersion, folder: str) -> Path:
    tracking.client(workspace)  # resolves the addresses of a moved workspace
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    get = functools.partial(
        download_artifacts, artifact_uri=chosen.source, dst_path=folder, tracking_uri=workspace.tracking_uri
    )
    try:
        return Path(deadlines.within(get, f"The registry's copy of version {chosen.version}", next_step=SLOW))
    except (MlflowException, OSError) as error:
        raise _unreachable(workspace, error) from error


def sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _logged_model(
    workspace: Workspace,
    mlflow: Any,
    line: str,
    artefact: Path,
    reference: Path,
    run_id: str,
    sha256: str,
    params: Mapping[str, str],
    example: Any,
) -> Any:
    """Log the exported file as an MLflow ONNX model, once. Completes a model that a killed process left unfinished."""
    experiment = tracking.experiment_id(workspace, mlflow, line)
    logged = mlflow.search_logged_models([experiment], filter_string=f"tags.{ARTEFACT} = '{sha256}'")
    if logged:
        model = logged[0]
    else:
        model = mlflow.create_logged_model(
            experiment,
            name="detector",
            source_run_id=run_id,
            tags={ARTEFACT: sha256},
            params=dict(params),
            model_type="onnx",
        )
    if str(model.status) != "READY":
        with tempfile.TemporaryDirectory() as folder:
            _save_flavour(Path(folder) / "model", artefact, reference, model.model_id, run_id, example)
            mlflow.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
        mlflow.finalize_logged_model(model.model_id, "READY")
    outputs = mlflow.get_run(run_id).outputs
    if outputs is None or model.model_id not in {output.model_id for output in outputs.model_outputs}:
        from mlflow.entities import LoggedModelOutput

        mlflow.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])  # shows the model on the run's page
    return model


def _save_flavour(folder: Path, artefact: Path, reference: Path, model_id: str, run_id: str, example: Any) -> None:
    import mlflow.onnx
    import numpy as np
    import onnx
    import onnxruntime
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    from models.detector import runtime

    image = Schema([TensorSpec(np.dtype("uint16"), (1, -1, -1, -1), runtime.INPUT)])
    outputs = Schema([TensorSpec(np.dtype("float32"), (-1,), name) for name in runtime.OUTPUTS[:2]])
    mlflow.onnx.save_model(
        onnx.load(artefact),
        str(folder),
        mlflow_model=Model(model_id=model_id, run_id=run_id),
        signature=ModelSignature(inputs=image, outputs=outputs),
        input_example=None if example is None else {runtime.INPUT: example},
        conda_env=_environment({"mlflow": mlflow.__version__, "onnxruntime": onnxruntime.__version__}),
        save_as_external_data=False,
    )
    shutil.copyfile(artefact, folder / FILE)  # exactly the bytes that were evaluated
    shutil.copyfile(reference, folder / REFERENCE)


def _environment(requirements: Mapping[str, str]) -> dict[str, Any]:
    """In whole, as conda has it: from requirements alone MLflow looks for pip's version, and warns where pip is absent."""
    pinned = [f"{name}=={version}" for name, version in requirements.items()]
    dependencies = [f"python={platform.python_version()}", "pip", {"pip": pinned}]
    return {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": dependencies}


def _version(line: str, entry: Any, aliases: list[str] | None = None) -> ModelVersion:
    return ModelVersion(
        line=line,
        version=str(entry.version),
        mlflow_run_id=entry.run_id,
        source=entry.source,
        tags=dict(entry.tags),
        aliases=tuple(sorted(aliases if aliases is not None else list(entry.aliases or ()))),
        description=entry.description or "",
    )


def _unreachable(workspace: Workspace, error: Exception) -> Unreachable:
    return Unreachable(
        f"The model registry at {workspace.tracking_uri} does not answer correctly: {error}.",
        next_step="Check MLFLOW_TRACKING_URI and the server's log.",
    )
