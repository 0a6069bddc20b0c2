"""Boxes of defects on real images: NEU-DET. Run: python -m benchmarks.detection --data FOLDER

`FOLDER` holds IMAGES and ANNOTATIONS (Pascal VOC), as NEU-DET is delivered. Split 80/20, stratified by class, images that
show the same thing kept together; a tenth of the 80 is the validation split.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import lines, page
from pipelines.ingest import ingest
from pipelines.initialise import init
from pipelines.workspace import Workspace

BAR = 0.70
PUBLISHED = "YOLOv8n 0.75–0.77, DDN 0.823 (other splits)"
TEST, VALIDATION = 0.20, 0.08
CHANGES: dict[str, dict[str, Any]] = {
    "model": {"kind": "detection"},
    "train": {
        "finetune": "last",
        "epochs": 26,
        "batch_size": 16,
        "learning_rate": 0.002,
        "weight_decay": 0.05,
        "flips": ["none", "horizontal", "vertical", "both"],
        "augment": {"views": 8, "rotation_deg": 0, "zoom": 0.25, "shift": 0.12, "brightness": 0.2, "contrast": 0.2},
    },
}


@dataclass(frozen=True)
class Result:
    seed: int
    train_minutes: float
    map50: float
    map50_95: float
    by_type: dict[str, float]  # mAP50


def measure(data: Path, where: Path, seed: int, threads: int, changes: dict | None = None) -> Result:
    """Ingest, train, export and evaluate in a fresh workspace below `where`."""
    import torch

    from pipelines.training import evaluate, export, train

    torch.set_num_threads(threads)
    place = line_of(data, where / f"seed-{seed}", seed, changes or {})
    started = time.perf_counter()
    train.main(place)
    minutes = (time.perf_counter() - started) / 60
    export.main(place)
    evaluate.main(place)
    boxes = json.loads((place.artifacts / "evaluate" / "evaluation.json").read_text())["boxes"]
    return Result(seed, minutes, boxes["map50"], boxes["map50_95"], boxes["map50_by_type"])


def line_of(data: Path, where: Path, seed: int, changes: dict) -> Workspace:
    place = init(where, "steel")
    ingest.ingest(place, str(data))
    lines.split(place, class_of, seed, test=TEST, validation=VALIDATION)
    lines.settle(place, CHANGES | {"train": CHANGES["train"] | {"seed": seed} | changes})
    return place


def class_of(row: lines.Row) -> str:
    """A file's name without its number."""
    return Path(row["source_path"]).stem.rsplit("_", 1)[0]


def report(results: list[Result]) -> str:
    types = sorted(results[0].by_type)
    rows = [
        [str(one.seed), f"{one.map50:.3f}", f"{one.map50_95:.3f}", f"{one.train_minutes:.0f}"]
        + [f"{one.by_type[name]:.2f}" for name in types]
        for one in results
    ]
    text = page.table(["seed", "mAP50", "mAP50–95", "minutes of training", *types], rows)
    mean = float(np.mean([one.map50 for one in results]))
    return f"{text}\n\nMean mAP50 **{mean:.3f}**; promised {BAR:.2f}. Published: {PUBLISHED}."


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with IMAGES and ANNOTATIONS")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=CHANGES["train"]["epochs"])
    parser.add_argument("--where", type=Path, help="keep the workspaces there; default: a temporary directory")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    given = parser.parse_args(arguments)
    if not (given.data / "IMAGES").is_dir():
        print(f"{given.data} holds no IMAGES: skipped.")
        return 0
    with tempfile.TemporaryDirectory(prefix="defectloop-bench-") as temporary:
        where = given.where or Path(temporary)
        results = [measure(given.data, where, seed, given.threads, {"epochs": given.epochs}) for seed in given.seeds]
    text = report(results)
    print(text)
    if given.write:
        page.write(
            "Boxes: NEU-DET", text, page.DETECTORS, CHANGES | {"train": CHANGES["train"] | {"epochs": given.epochs}}
        )
    return int(float(np.mean([one.map50 for one in results])) < BAR)


if __name__ == "__main__":
    raise SystemExit(main())
