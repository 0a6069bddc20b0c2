"""Unlike the good ones: MVTec AD, learned from good images alone. Run: python -m benchmarks.anomaly --data FOLDER

`FOLDER` has MVTec AD's layout. Its test list is the test split; a fifth of the good images is the validation split that
thresholds come from. Each method also with the first 10, 20 and 50 good images of the training split alone; with all of
them three seeds of the training, on one split.
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

BARS = {"image AUROC": 0.995, "pixel AUROC": 0.98}
PUBLISHED = "PatchCore with WideResNet-50: image 1.000, pixel 0.985"
FEW = (10, 20, 50)
METHODS = ("patchcore", "student_teacher")
SEEDS = (0, 1, 2)
CHANGES: dict[str, dict[str, Any]] = {
    "model": {"kind": "anomaly", "image_size_px": 256, "anomaly": {"memory_bank_size": 2000}},
    "train": {
        "flips": ["none", "horizontal", "vertical", "both"],
        "augment": {"views": 4, "jpeg_quality": 75},
        "epochs": 20,  # of the student–teacher method, as the next two
        "batch_size": 16,
        "learning_rate": 0.002,
    },
}


@dataclass(frozen=True)
class Result:
    method: str
    seed: int
    images: int
    minutes: float
    image_auroc: float
    pixel_auroc: float
    aupro: float
    recall_at: tuple[float, float]  # at 1 % and 5 % false alarms
    escape_rate: float
    overkill_rate: float
    ms: float


def measure(data: Path, where: Path, few: int | None, method: str, seed: int) -> Result:
    """Ingest, train and export in a fresh workspace below `where`, and every test image through the file."""
    import pyarrow as pa
    from pyarrow import compute
    from sklearn.metrics import roc_auc_score

    from models.dataset import annotation_table
    from models.metrics.verdict_metrics import recall_at
    from models.vocabulary import Verdict
    from pipelines.ingest import ingest
    from pipelines.initialise import init
    from pipelines.training import evaluate, export, train

    place = init(where / f"{method}-{few or 'all'}-{seed}", "bottles")
    ingest.ingest(place, str(data))
    table = annotation_table.load(place.annotations)
    if few:
        learned = sorted(row["image"] for row in table.to_pylist() if row["split"] == "train")
        table = table.filter(compute.invert(compute.is_in(table["image"], pa.array(learned[few:]))))
        annotation_table.save(table, place.annotations)
    chosen = {"model": CHANGES["model"] | {"anomaly": CHANGES["model"]["anomaly"] | {"method": method}}}
    lines.settle(place, chosen | {"train": CHANGES["train"] | {"seed": seed}})
    started = time.perf_counter()
    train.main(place)
    minutes = (time.perf_counter() - started) / 60
    export.main(place)
    evaluate.main(place)
    pixels = json.loads((place.artifacts / "evaluate" / "evaluation.json").read_text())["pixels"]
    rows = lines.tested(place)
    defective = np.array([row["label"] == "defect" for row in rows])
    raw, said = (np.array([row[name] for row in rows]) for name in ("raw_score", "verdict"))
    return Result(
        method=method,
        seed=seed,
        images=sum(row["split"] == "train" for row in table.to_pylist()),
        minutes=minutes,
        image_auroc=float(roc_auc_score(defective, raw)),
        pixel_auroc=pixels["auroc"],
        aupro=pixels["aupro"],
        recall_at=(recall_at(defective, raw, 0.01), recall_at(defective, raw, 0.05)),
        escape_rate=float((said[defective] == Verdict.PASS).mean()),
        overkill_rate=float((said[~defective] == Verdict.FAIL).mean()),
        ms=lines.milliseconds(place),
    )


def report(results: list[Result]) -> str:
    rows = [
        [
            one.method,
            str(one.images),
            str(one.seed),
            f"{one.image_auroc:.4f}",
            f"{one.pixel_auroc:.4f}",
            f"{one.aupro:.3f}",
            f"{one.recall_at[0]:.3f}",
            f"{one.recall_at[1]:.3f}",
            f"{one.escape_rate:.3f}",
            f"{one.overkill_rate:.3f}",
            f"{one.minutes:.1f}",
            f"{one.ms:.1f}",
        ]
        for one in results
    ]
    head = ["method", "good images", "seed", "image AUROC", "pixel AUROC", "AUPRO", "recall at 1 %"]
    text = page.table([*head, "at 5 % false alarms", "escapes", "overkill", "minutes of training", "ms an image"], rows)
    promised = ", ".join(f"{name} {bar:g}" for name, bar in BARS.items())
    return f"{text}\n\nPromised with all images: {promised}. Published: {PUBLISHED}."


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="an MVTec AD category")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    given = parser.parse_args(arguments)
    if not given.data.is_dir():
        print(f"{given.data} is not there: skipped.")
        return 0
    with tempfile.TemporaryDirectory(prefix="defectloop-bench-") as temporary:
        runs = [(few, 0) for few in FEW] + [(None, seed) for seed in SEEDS]
        results = [measure(given.data, Path(temporary), few, method, seed) for method in METHODS for few, seed in runs]
    text = report(results)
    print(text)
    if given.write:
        page.write("Unlike the good ones: MVTec AD bottle at 256 px", text, page.DETECTORS, CHANGES)
    whole = [one for one in results if one.images == max(other.images for other in results)]
    return int(any(one.image_auroc < BARS["image AUROC"] or one.pixel_auroc < BARS["pixel AUROC"] for one in whole))


if __name__ == "__main__":
    raise SystemExit(main())
