"""Cached predictions of registered versions on the frozen test parts, keyed by their inputs."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from models.dataset import annotation_table
from models.detector.runtime import Detector
from models.errors import NotReady
from models.evaluation import evaluation
from models.vocabulary import Split
from pipelines import lineage
from pipelines.adapters import model_registry
from pipelines.adapters.model_registry import ModelVersion
from pipelines.workspace import Workspace

# Increase this when models.evaluation.evaluation.predict changes its answers, so that older cached files are not used.
ANSWERS = "1"


def predictions(workspace: Workspace, version: ModelVersion) -> pa.Table:
    """Return the version's predictions on the test parts of the present snapshot. Uses the snapshot's annotations, because
    those in `data/` may contain later changes. Raises NotReady if test images are missing."""
    sha256 = version.tags[model_registry.ARTEFACT]
    table, annotations_sha256 = annotation_table.load_hashed(lineage.snapshot_annotations(workspace))
    expected = origin(sha256, annotations_sha256)
    kept = workspace.state / "evaluations" / f"{sha256[:20]}-{annotations_sha256[:20]}.parquet"
    for path in (workspace.artifacts / "evaluate" / "predictions.parquet", kept):
        with contextlib.suppress(FileNotFoundError):  # a training may replace the first file at any time
            answers = parquet.read_table(path)
            if answers.schema.metadata == expected:
                return answers
    _require_images(workspace, table)
    detector = Detector(model_registry.download(workspace, version))
    answers = evaluation.predict(detector, table, workspace.data, Split.TEST)
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".partial")
    write(answers, expected, partial)
    partial.replace(kept)
    return answers


def origin(artefact_sha256: str, annotations_sha256: str) -> dict[bytes, bytes]:
    """Return the file metadata that identifies the model and the test parts of predictions."""
    named = {"artefact_sha256": artefact_sha256, "annotations_sha256": annotations_sha256, "answers": ANSWERS}
    return {name.encode(): value.encode() for name, value in named.items()}


def write(answers: pa.Table, from_what: dict[bytes, bytes], path: Path) -> None:
    parquet.write_table(answers.replace_schema_metadata(from_what), path)


def _require_images(workspace: Workspace, table: pa.Table) -> None:
    files = [
        file
        for file, split in zip(table["file"].to_pylist(), table["split"].to_pylist(), strict=True)
        if split == Split.TEST
    ]
    lacking = [file for file in files if not (workspace.data / file).exists()]
    if lacking:
        raise NotReady(
            f"{len(lacking)} test images of the present snapshot are not in {workspace.data} (first: {lacking[0]}).",
            next_step="Take a snapshot: defectloop snapshot; or restore one: defectloop snapshots restore NUMBER",
        )
