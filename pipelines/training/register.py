"""Registers the evaluated detector: completes its run, and registers its file as a version with the alias `challenger`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from models.dataset import annotation_table
from models.detector.runtime import as_input
from models.errors import NotReady, masked
from models.evaluation import twins
from models.evaluation.twins import Twins
from models.files import read_json
from models.images import codec
from models.vocabulary import Split
from pipelines import lineage
from pipelines.adapters import model_registry, tracking
from pipelines.adapters.model_registry import ModelVersion
from pipelines.snapshots import snapshot
from pipelines.training import run_record
from pipelines.workspace import Workspace

AGAIN = "Create it again: defectloop train"
BY_HAND = "a call of `register` by hand"
EXAMPLE_PX = 128  # longest side of the registered model's input example


def register(workspace: Workspace, trigger: str = BY_HAND) -> ModelVersion:
    """Register `artifacts/export/detector.onnx` and return its version. Repeating it, also after a kill, gives the same
    version and run. `trigger` says what started the training. Raises NotReady if a stage has not run."""
    params = workspace.params()
    line = params.line
    made = workspace.artifacts
    for stage in ("train/run.json", "export/detector.onnx", "evaluate/evaluation.json"):
        if not (made / stage).exists():
            raise NotReady(f"{made / stage} does not exist.", next_step="defectloop train")
    run = read_json(made / "train" / "run.json", next_step=AGAIN)
    evaluated = read_json(made / "evaluate" / "evaluation.json", next_step=AGAIN)
    export = read_json(made / "export" / "export.json", next_step=AGAIN)
    robustness = read_json(made / "evaluate" / "steadiness.json", next_step=AGAIN)
    run_id = run["mlflow_run_id"]
    taken = snapshot.by_hash(workspace, run["snapshot"])
    rows = annotation_table.load(lineage.snapshot_annotations(workspace, taken.data_hash)).to_pylist()
    commit = lineage.git_commit(workspace)
    dataset = {
        "name": taken.tag,
        "digest": taken.data_hash,
        "source": {"remote": masked(workspace.remote_url), "tag": taken.tag, "git_commit": taken.git_commit},
        "profile": profile(rows),
    }
    tracking.finish_run(
        workspace,
        run_id,
        dataset=dataset,
        folders={
            "figures": made / "evaluate" / "figures",
            "gallery": made / "evaluate" / "gallery",
            "data_docs": made / "validate" / "data_docs",
            "audit": made / "audit",
        },
        files=[
            made / "evaluate" / "report.html",
            made / "evaluate" / "verdicts.csv",
            made / "evaluate" / "verdicts.parquet",
            made / "evaluate" / "evaluation.json",
            made / "evaluate" / "steadiness.json",
            made / "evaluate" / "model-card.md",
            made / "export" / "export.json",
        ],
        pictures=run_record.pictures(made / "evaluate"),
    )
    judged = run_record.flat(run_record.judged_with(params, evaluated, export))
    differing = tracking.log_params(workspace, run_id, judged)
    learned_slices = sorted({row["slice"] for row in rows if row["split"] == Split.TRAIN and not row["synthetic"]})
    synthetic = sum(bool(row["synthetic"]) for row in rows)
    version = model_registry.register(
        workspace,
        line,
        made / "export" / "detector.onnx",
        made / "evaluate" / "reference.parquet",
        run_id=run_id,
        description=(made / "evaluate" / "model-card.md").read_text(),
        tags={
            "snapshot": taken.tag,
            "data_hash": taken.data_hash,
            "git_commit": commit,
            "slices": json.dumps(learned_slices),
            "robustness": json.dumps(robustness_shares(robustness)),
            "measured": json.dumps(
                {"max_score_difference": export["max_score_difference"], "latency_ms": evaluated.get("latency_ms")}
            ),
        }
        | ({"twins": twins.headline(Twins.from_dict(evaluated["twins"]))} if "twins" in evaluated else {})
        | ({"synthetic_images": str(synthetic)} if synthetic else {}),
        params=run_record.flat(run_record.learned_with(params)) | judged,
        metrics=run_record.metrics(evaluated, export),
        dataset=dataset,
        example=input_example(workspace, rows),
    )
    tracking.record(
        workspace,
        run_id,
        {
            tracking.TRIGGER: trigger,
            tracking.OTHER_SETTINGS: ", ".join(f"`{key}` {value}" for key, value in differing.items()),
            "version": version.version,
            "snapshot": taken.tag,
            "git_commit": commit,
            "defectloop": metadata.version("defectloop"),
        },
        name=run_record.run_name(taken.tag, version.version),
    )
    if model_registry.CHAMPION not in version.aliases:
        model_registry.set_alias(workspace, line, model_registry.CHALLENGER, version.version)
    return version


def input_example(workspace: Workspace, rows: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """Return the first test image as the graph reads it, with every k-th pixel, so that a JSON file holds it."""
    tested = [row["file"] for row in rows if row["split"] == Split.TEST]
    if not tested:
        return None
    image = as_input(codec.read(workspace.data / min(tested)))
    step = -(-max(image.shape[1:3]) // EXAMPLE_PX)
    return np.ascontiguousarray(image[:, ::step, ::step])


def robustness_shares(robustness: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the shares that the gate needs, short enough for a tag. Older evaluations have `turned` for `flipped`."""
    return {
        change: {
            "changed": round(shares["changed"], 4),
            "flipped": round(shares["flipped"] if "flipped" in shares else shares["turned"], 4),
        }
        for change, shares in robustness.items()
    }


def profile(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Return the numbers of photographs by split and label, and the number of synthetic images."""
    counts = Counter(f"{row['split']}/{row['label']}" for row in rows if not row["synthetic"])
    made = sum(bool(row["synthetic"]) for row in rows)
    return {"images": len(rows), **dict(sorted(counts.items()))} | ({"synthetic": made} if made else {})
