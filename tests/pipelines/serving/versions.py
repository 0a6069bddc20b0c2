"""More versions of the kept champion: the same network with other thresholds, registered as MLflow's client would."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import onnx

from models.detector.runtime import METADATA_KEY
from pipelines.adapters.model_registry import FILE, HASH_TAGS, REFERENCE
from pipelines.workspace import Workspace


def add_version(workspace: Workspace, number: int, change: Callable[[bytes], bytes] = lambda data: data) -> Path:
    """Register version `number`: every part of it fails. `change` alters its file after it was registered."""
    first = next((workspace.state / "models").glob(f"*/{FILE}"))
    model = onnx.load(first)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            values = json.loads(entry.value)
            values["operating_point"] = {"pass_below": 0.0, "fail_from": 0.0}
            values["basis"] = f"version {number}"
            entry.value = json.dumps(values)
    data = model.SerializeToString()
    folder = Path(str(workspace.artifact_root)) / "widgets" / "models" / f"m-{number}" / "artifacts"
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(change(data))
    shutil.copy(first.with_name(REFERENCE), folder / REFERENCE)
    tags = {HASH_TAGS[FILE]: hashlib.sha256(data).hexdigest()}
    with sqlite3.connect(workspace.state / "mlflow.db") as database:
        database.execute(
            "INSERT INTO model_versions (name, version, creation_time, last_updated_time, description, current_stage, "
            "source, run_id, status, storage_location, workspace) SELECT name, ?, creation_time, last_updated_time, '', "
            "'None', ?, run_id, status, ?, workspace FROM model_versions WHERE version = 1",
            (number, str(folder), str(folder)),
        )
        for key, value in tags.items():
            database.execute(
                "INSERT INTO model_version_tags VALUES (?, ?, 'widgets', ?, 'default')", (key, value, number)
            )
    return folder / FILE


def set_alias(workspace: Workspace, alias: str, number: int) -> None:
    with sqlite3.connect(workspace.state / "mlflow.db") as database:
        database.execute("DELETE FROM registered_model_aliases WHERE alias = ?", (alias,))
        database.execute("INSERT INTO registered_model_aliases VALUES (?, ?, 'widgets', 'default')", (alias, number))
