"""What MLflow shows of a training: names of metrics, parameters, description and pictures. Reads no registry.

Metrics are named `group/metric`, because MLflow draws one section of charts per group. Runs of older releases have `test_f1`
for `test/f1` and `val_loss` for `val/loss`; nothing in defectloop reads metrics back from MLflow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models import names
from models.evaluation.evaluation import Evaluation
from models.params import Params

LOGGED = ("f1", "auroc", "average_precision", "precision", "recall", "escape_rate", "overkill_rate", "review_rate")
PER_PART = ("defect_rate", "review_rate", "delivered_defective", "cost_per_part", "cost_if_all_pass")
MEASURED = {"boxes": ("map50", "map50_95"), "types": ("macro_f1",), "pixels": ("iou", "auroc", "aupro")}
WITHOUT_GRADIENTS = {"epochs", "patience", "batch_size", "learning_rate", "weight_decay"}  # patchcore uses none of them
FIGURES = {
    "confusion matrix": "confusion.png",
    "precision-recall curve": "precision_recall.png",
    "ROC curve": "curves.png",
    "scores": "scores.png",
    "calibration": "calibration.png",
}
GALLERY = {"example escapes": "escapes", "example overkill": "overkill", "example reviews": "review"}
TILES = 6  # examples in one picture


def metrics(evaluated: Mapping[str, Any], export: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of `evaluation.json` and `export.json` as MLflow metrics, without undefined ones."""
    point = export["operating_point"]
    numbers = verdicts(Evaluation.from_dict(dict(evaluated))) | costs(evaluated) | beyond_verdicts(evaluated)
    numbers |= {
        "test/calibration_error": evaluated["calibration_error"],
        "export/max_score_difference": float(export["max_score_difference"]),
        "threshold/pass_below": float(point["pass_below"]),
        "threshold/fail_from": float(point["fail_from"]),
    }
    return {name: value for name, value in numbers.items() if not math.isnan(value)}


def verdicts(result: Evaluation) -> dict[str, float]:
    """Return the metrics over all test parts (`test/f1`) and in each slice (`test/mono/f1`)."""
    numbers: dict[str, float] = {}
    by_group = {"test": result.overall} | {f"test/{names.for_mlflow_key(name)}": m for name, m in result.slices.items()}
    for group, measured in by_group.items():
        numbers |= {f"{group}/{name}": getattr(measured, name) for name in LOGGED}
        numbers |= {f"{group}/{name}_at_most": bound for name, bound in measured.at_most.items()}
    return numbers


def costs(evaluated: Mapping[str, Any]) -> dict[str, float]:
    """Return the expected outcomes per part, at the dataset's defect rate and at the line's if it is known."""
    return {
        f"{mix}/{name}": one[name]
        for mix, one in zip(("in_the_data", "on_the_line"), evaluated.get("expected", []), strict=False)
        for name in PER_PART
        if one[name] is not None
    }


def beyond_verdicts(evaluated: Mapping[str, Any]) -> dict[str, float]:
    """Return the measured metrics of boxes, types and pixels, and recall at given false positive rates."""
    numbers = {
        f"{part}/{name}": evaluated[part][name]
        for part, chosen in MEASURED.items()
        if part in evaluated
        for name in chosen
    }
    recall = evaluated.get("recall_at_false_alarm_rate", {})
    return numbers | {f"test/recall_at_false_alarm_rate_{rate}": share for rate, share in recall.items()}


def learned_with(params: Params) -> dict[str, Any]:
    """Return the sections `model` and `train`, without what this kind of detector does not use."""
    values = params.model_dump(mode="json", include={"model", "train"})
    model, train = values["model"], values["train"]
    for kind in {"classification", "detection", "anomaly"} - {params.model.kind}:
        del model[kind]
    if params.model.kind == "anomaly" and params.model.anomaly.method == "patchcore":
        values["train"] = train = {name: value for name, value in train.items() if name not in WITHOUT_GRADIENTS}
    elif params.model.kind == "anomaly":
        del model["anomaly"]["memory_bank_size"]
    if not params.train.augment.views:
        train["augment"] = {"views": 0}
    return values


def judged_with(params: Params, evaluated: Mapping[str, Any], export: Mapping[str, Any]) -> dict[str, Any]:
    """Return costs, thresholds and gate rules, without those that played no part."""
    values = params.model_dump(mode="json", include={"production", "cost", "promote"})
    whole = Evaluation.from_dict(dict(evaluated)).overall
    if whole.n_defective:
        del values["cost"]["false_alarm_rate"]  # only where there are good parts alone
    if params.cost.max_escape_rate is None:
        del values["cost"]["confidence"]
    return values | {"threshold": {name: f"{share:.6g}" for name, share in export["operating_point"].items()}}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested parameters as `section.key`. A key that is set to nothing is left out."""
    rows: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows |= flat(value, f"{prefix}{key}.")
        elif value is not None:
            rows[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return rows


def run_name(snapshot: str, version: str | None = None) -> str:
    return snapshot if version is None else f"{snapshot}, version {version}"


def pictures(evaluated: Path) -> dict[str, Image.Image]:
    """Return the figures and one sheet of examples per kind of mistake, by title, from the folder of an evaluation."""
    drawn = {title: evaluated / "figures" / name for title, name in FIGURES.items()}
    found = {title: Image.open(path).convert("RGB") for title, path in drawn.items() if path.is_file()}
    for title, folder in GALLERY.items():
        tiles = sorted((evaluated / "gallery" / folder).glob("*.png"))[:TILES]
        if tiles:
            found[title] = sheet([Image.open(path).convert("RGB") for path in tiles])
    return found


def sheet(tiles: list[Image.Image], columns: int = 2, gap: int = 6) -> Image.Image:
    """Return the pictures side by side on white, in rows of `columns`."""
    width, height = (int(np.max(sides)) for sides in zip(*(tile.size for tile in tiles), strict=True))
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    whole = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        whole.paste(tile, (column * (width + gap), row * (height + gap)))
    return whole
