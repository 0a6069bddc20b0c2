"""Unlike the good ones: MVTec AD, learned from good images alone. Run: python -m benchmarks.anomaly --data FOLDER

`FOLDER` has MVTec AD's layout. Its test list is the test split; a fifth of the good images is the validation split that
thresholds come from. Each method also with the first 10, 20 and 50 good images of the training split alone; with all of
them three seeds of the training, on one split.
"""

from __future__ import annotations

import argparse
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
METHODS = ("patchcore", "distilled")
SEEDS = (0, 1, 2)
CHANGES: dict[str, dict[str, Any]] = {
    "model": {"kind": "anomaly", "anomaly": {"bank_size": 2000}},
    "train": {
        "flips": ["none", "horizontal", "vertical", "both"],
        "augment": {"views": 4, "jpeg_quality": 75},
        "epochs": 20,  # of the distilled method, as the next two
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
    recall_at: tuple[float, float]  # at 1 % and 5 % false alarms
    escape_rate: float
    overkill_rate: float
    ms: float


def measure(data: Path, where: Path, few: int | None, method: str, seed: int) -> Result:
    """Ingest, train and export in a fresh workspace below `where`, and every test image through the file."""
    import pyarrow as pa
    from PIL import Image
    from pyarrow import compute
    from sklearn.metrics import roc_auc_score, roc_curve

    from models import annotation_table, images
    from models.runtime import Detector
    from models.vocabulary import Verdict
    from pipelines import export, train
    from pipelines.ingest import ingest
    from pipelines.initialise import init

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
    detector = Detector(place.artifacts / "export" / "detector.onnx")
    raw, truth, verdicts, heat, masks, taken = [], [], [], [], [], []
    for row in table.to_pylist():
        if row["split"] != "test":
            continue
        image = images.read(place.data / row["file"])
        begun = time.perf_counter()
        answer = detector.predict(image)
        taken.append(time.perf_counter() - begun)
        height, width = image.shape[:2]
        shown = Image.fromarray(answer.heatmap).resize((width, height), Image.Resampling.BILINEAR)
        heat.append(np.asarray(shown).ravel())
        mask = images.read(place.data / row["mask"])[..., 0] > 127 if row["mask"] else np.zeros((height, width), bool)
        masks.append(mask.ravel())
        raw.append(answer.raw_score)
        truth.append(row["label"] == "defect")
        verdicts.append(detector.verdict(answer.score))
    defective, said = np.array(truth), np.array(verdicts)
    alarms, found, _ = roc_curve(defective, raw)
    return Result(
        method=method,
        seed=seed,
        images=sum(row["split"] == "train" for row in table.to_pylist()),
        minutes=minutes,
        image_auroc=float(roc_auc_score(defective, raw)),
        pixel_auroc=float(roc_auc_score(np.concatenate(masks), np.concatenate(heat))),
        recall_at=(float(found[alarms <= 0.01].max()), float(found[alarms <= 0.05].max())),
        escape_rate=float((said[defective] == Verdict.PASS).mean()),
        overkill_rate=float((said[~defective] == Verdict.FAIL).mean()),
        ms=float(np.median(taken) * 1e3),
    )


def report(results: list[Result]) -> str:
    rows = [
        [
            one.method,
            str(one.images),
            str(one.seed),
            f"{one.image_auroc:.4f}",
            f"{one.pixel_auroc:.4f}",
            f"{one.recall_at[0]:.3f}",
            f"{one.recall_at[1]:.3f}",
            f"{one.escape_rate:.3f}",
            f"{one.overkill_rate:.3f}",
            f"{one.minutes:.1f}",
            f"{one.ms:.1f}",
        ]
        for one in results
    ]
    head = ["method", "good images", "seed", "image AUROC", "pixel AUROC", "recall at 1 %", "at 5 % false alarms"]
    text = page.table([*head, "escapes", "overkill", "minutes of training", "ms an image"], rows)
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
        page.write("Unlike the good ones: MVTec AD bottle at 256 px", text, page.DETECTORS)
    whole = [one for one in results if one.images == max(other.images for other in results)]
    return int(any(one.image_auroc < BARS["image AUROC"] or one.pixel_auroc < BARS["pixel AUROC"] for one in whole))


if __name__ == "__main__":
    raise SystemExit(main())
