"""Registers the evaluated detector: completes its run, and registers its file as a version with the alias `challenger`."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from models import names
from models.dataset import annotation_table
from models.errors import NotReady, masked
from models.evaluation import twins
from models.evaluation.evaluation import Evaluation
from models.evaluation.twins import Twins
from models.files import read_json
from models.vocabulary import Split
from pipelines import lineage
from pipelines.adapters import model_registry, tracking
from pipelines.adapters.model_registry import ModelVersion
from pipelines.snapshots import snapshot
from pipelines.workspace import Workspace

AGAIN = "Create it again: defectloop train"
LOGGED = ("f1", "auroc", "average_precision", "precision", "recall", "escape_rate", "overkill_rate", "review_rate")


def register(workspace: Workspace) -> ModelVersion:
    """Register `artifacts/export/detector.onnx` and return its version. Repeating it, also after a kill, gives the same
    version and run. Raises NotReady if a stage has not run."""
    line = workspace.params().line
    made = workspace.artifacts
    for stage in ("train/run.json", "export/detector.onnx", "evaluate/evaluation.json"):
        if not (made / stage).exists():
            raise NotReady(f"{made / stage} does not exist.", next_step="defectloop train")
    run = read_json(made / "train" / "run.json", next_step=AGAIN)
    evaluated = read_json(made / "evaluate" / "evaluation.json", next_step=AGAIN)
    result = Evaluation.from_dict(evaluated)
    robustness = read_json(made / "evaluate" / "steadiness.json", next_step=AGAIN)
    taken = snapshot.by_hash(workspace, run["snapshot"])
    rows = annotation_table.load(lineage.snapshot_annotations(workspace, taken.data_hash)).to_pylist()
    tracking.finish_run(
        workspace,
        run["mlflow_run_id"],
        metrics=final_metrics(result)
        | export_metrics(workspace)
        | cost_metrics(evaluated)
        | {"test_calibration_error": evaluated["calibration_error"]}
        | beyond_verdicts(evaluated),
        dataset={
            "name": taken.tag,
            "digest": taken.data_hash,
            "source": {"remote": masked(workspace.remote_url), "tag": taken.tag, "git_commit": taken.git_commit},
            "profile": profile(rows),
        },
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
    )
    learned_slices = sorted({row["slice"] for row in rows if row["split"] == Split.TRAIN and not row["synthetic"]})
    synthetic = sum(bool(row["synthetic"]) for row in rows)
    version = model_registry.register(
        workspace,
        line,
        made / "export" / "detector.onnx",
        made / "evaluate" / "reference.parquet",
        run_id=run["mlflow_run_id"],
        description=(made / "evaluate" / "model-card.md").read_text(),
        tags={
            "snapshot": taken.tag,
            "data_hash": taken.data_hash,
            "git_commit": lineage.git_commit(workspace),
            "slices": json.dumps(learned_slices),
            "robustness": json.dumps(robustness_shares(robustness)),
        }
        | ({"twins": twins.headline(Twins.from_dict(evaluated["twins"]))} if "twins" in evaluated else {})
        | ({"synthetic_images": str(synthetic)} if synthetic else {}),
    )
    if model_registry.CHAMPION not in version.aliases:
        model_registry.set_alias(workspace, line, model_registry.CHALLENGER, version.version)
    return version


def final_metrics(result: Evaluation) -> dict[str, float]:
    """Return metrics with flat names for MLflow: test_f1, test_mono_f1, …"""
    numbers: dict[str, float] = {}
    for prefix, metrics in (
        ("test", result.overall),
        *((f"test_{names.for_mlflow_key(name)}", m) for name, m in result.slices.items()),
    ):
        numbers |= {f"{prefix}_{name}": getattr(metrics, name) for name in LOGGED}
        numbers |= {f"{prefix}_{name}_at_most": bound for name, bound in metrics.at_most.items()}
    return {name: value for name, value in numbers.items() if not math.isnan(value)}


def cost_metrics(evaluated: dict[str, Any]) -> dict[str, float]:
    """Return the expected outcomes per part, at the dataset's defect rate and at the line's if it is known."""
    names = ("defect_rate", "review_rate", "delivered_defective", "cost_per_part", "cost_if_all_pass")
    return {
        f"{mix}_{name}": one[name]
        for mix, one in zip(("in_the_data", "on_the_line"), evaluated.get("expected", []), strict=False)
        for name in names
        if one[name] is not None
    }


def beyond_verdicts(evaluated: dict[str, Any]) -> dict[str, float]:
    """Return the measured metrics of boxes, types and pixels, and recall at given false positive rates, named for MLflow."""
    chosen = {"boxes": ("map50", "map50_95"), "types": ("macro_f1",), "pixels": ("iou", "auroc", "aupro")}
    numbers = {
        f"test_{name}" if part == "boxes" else f"test_{part}_{name}": evaluated[part][name]
        for part, names in chosen.items()
        if part in evaluated
        for name in names
    }
    recall = evaluated.get("recall_at_false_alarm_rate", {})
    return numbers | {f"test_recall_at_false_alarm_rate_{rate}": share for rate, share in recall.items()}


def robustness_shares(robustness: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the shares that the gate needs, short enough for a tag. Older evaluations have `turned` for `flipped`."""
    return {
        change: {
            "changed": round(shares["changed"], 4),
            "flipped": round(shares["flipped"] if "flipped" in shares else shares["turned"], 4),
        }
        for change, shares in robustness.items()
    }


def export_metrics(workspace: Workspace) -> dict[str, float]:
    export = read_json(workspace.artifacts / "export" / "export.json", next_step=AGAIN)
    return {"max_score_difference": float(export["max_score_difference"])}


def profile(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Return the numbers of photographs by split and label, and the number of synthetic images."""
    counts = Counter(f"{row['split']}/{row['label']}" for row in rows if not row["synthetic"])
    made = sum(bool(row["synthetic"]) for row in rows)
    return {"images": len(rows), **dict(sorted(counts.items()))} | ({"synthetic": made} if made else {})
