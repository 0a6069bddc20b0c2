"""Stage `train`: trains a detector on the training split of the snapshot. Writes `artifacts/train/`.

A killed training continues from its last epoch and ends with the same weights as an undisturbed one.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

from models import files
from models.params import Params
from models.training import kinds
from models.training.context import TrainingContext
from pipelines import lineage, progress, snapshot_tags
from pipelines.adapters import tracking
from pipelines.amounts import image_count
from pipelines.training import learning_data, run_record
from pipelines.workspace import Workspace

SUMMARISED = {
    "val_auroc": "validation AUROC",
    "val_iou": "IoU of pixels",
    "val_map50": "validation mAP50",
    "farthest_patch": "largest distance of a patch to the memory bank",
}


def main(workspace: Workspace) -> None:
    params = workspace.params()
    training, validation = learning_data.splits(workspace, params)
    snapshot = lineage.data_hash(workspace)
    key = train_key(params, snapshot)
    run_id = tracking.start_run(
        workspace,
        line=params.line,
        train_key=key,
        name=run_record.run_name(snapshot_name(workspace, snapshot)),
        params=run_record.flat(run_record.learned_with(params)),
        tags={"defectloop.snapshot": snapshot, "mlflow.source.git.commit": lineage.git_commit(workspace)},
    )

    import torch

    work = workspace.state / "work" / "train" / key
    cache, logger = workspace.state / "cache" / "features", tracking.lightning_logger(workspace, params.line, run_id)
    context = TrainingContext(params, work, cache, logger, progress.bar)
    trained = kinds.learner(params.model.kind).train(training, validation, context)
    with files.output_directory(workspace.artifacts / "train") as out:
        torch.save(trained.network.state_dict(), out / "detector.ckpt")
        _write_history(trained.history, out / "history.csv")
        (out / "run.json").write_text(json.dumps({"mlflow_run_id": run_id, "train_key": key, "snapshot": snapshot}))
    shutil.rmtree(work, ignore_errors=True)
    last = trained.history[-1] if trained.history else {}
    reached = [f"{title} {last[name]:.3f}" for name, title in SUMMARISED.items() if name in last]
    epochs = [f"{len(trained.history)} epochs"] if "epoch" in last else []
    counted = image_count(len(training), int(training.synthetic.sum()))
    progress.say(", ".join([f"train: {counted}", *trained.noted, *epochs, *reached]))


def train_key(params: Params, snapshot: str) -> str:
    """Return the key that identifies a training: a hash of line, data, and the sections model and train."""
    values = params.model_dump(mode="json", include={"line", "model", "train"}) | {"snapshot": snapshot}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def snapshot_name(workspace: Workspace, data_hash: str) -> str:
    """Return the tag of a snapshot, or the beginning of its hash if `dvc repro` trains before a snapshot was taken."""
    tags = [taken.tag for taken in snapshot_tags.snapshots(workspace) if taken.data_hash == data_hash]
    return tags[-1] if tags else f"data {data_hash[:12]}"


def _write_history(history: list[dict[str, float]], path: Path) -> None:
    names = sorted({name for row in history for name in row}, key=lambda name: (name != "epoch", name))
    with path.open("w", newline="") as sink:
        writer = csv.DictWriter(sink, names)
        writer.writeheader()
        writer.writerows(history)
