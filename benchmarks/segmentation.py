"""Pixels of defects on real magnetic tiles. Run: python -m benchmarks.segmentation --data FOLDER

`FOLDER` holds `MT_<type>/Imgs`. Each tile was photographed about six times, under running numbers: a part is a run of
them, together with whatever looks like it. Split by part, 60/15/25, every type by itself.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import lines, page

BARS = {"AUROC": 0.97, "IoU": 0.67}
PUBLISHED = "mIoU 0.669, F1 0.749 (random split)"
TEST, VALIDATION = 0.25, 0.15
IMAGE = re.compile(r"(MT_\w+)/Imgs/exp(\d)_num_(\d+)")  # type, exposure, running number
NEXT_TO = 300  # running numbers: nearer ones belong together
CHANGES: dict[str, dict[str, Any]] = {
    "model": {"kind": "segmentation", "image_size_px": 256},
    "train": {
        "finetune": "all",
        "epochs": 14,
        "batch_size": 16,
        "learning_rate": 0.002,
        "weight_decay": 0.02,
        "flips": ["none", "horizontal", "vertical", "both"],
        "augment": {
            "views": 8,
            "rotation_deg": 10,
            "zoom": 0.15,
            "shift": 0.08,
            "brightness": 0.4,
            "contrast": 0.4,
            "blur_px": 0,
            "noise": 0,
        },
    },
}


@dataclass(frozen=True)
class Result:
    seed: int
    minutes: float
    parts: int
    images: int
    image_auroc: float
    iou: float
    pixel_auroc: float
    aupro: float
    macro_f1: float
    ms: float


def measure(data: Path, where: Path, seed: int, threads: int, changes: dict[str, dict[str, Any]]) -> Result:
    """Ingest, train, export and evaluate in a fresh workspace below `where`."""
    import torch
    from sklearn.metrics import roc_auc_score

    from models.dataset import annotation_table
    from pipelines.ingest import ingest
    from pipelines.initialise import init
    from pipelines.training import evaluate, export, train

    torch.set_num_threads(threads)
    place = init(where / f"seed-{seed}", "tiles")
    ingest.ingest(place, str(data))
    table = annotation_table.load(place.annotations)
    types = _by_part(table := with_parts(table))
    annotation_table.save(table, place.annotations)
    lines.split(place, lambda row: types[row["part"]], seed, test=TEST, validation=VALIDATION)
    lines.settle(place, changes | {"train": changes["train"] | {"seed": seed}})
    started = time.perf_counter()
    train.main(place)
    minutes = (time.perf_counter() - started) / 60
    export.main(place)
    evaluate.main(place)
    found = json.loads((place.artifacts / "evaluate" / "evaluation.json").read_text())
    rows = lines.tested(place)
    return Result(
        seed=seed,
        minutes=minutes,
        parts=found["overall"]["n"],
        images=len(rows),
        image_auroc=float(
            roc_auc_score([row["label"] == "defect" for row in rows], [row["raw_score"] for row in rows])
        ),
        iou=found["pixels"]["iou"],
        pixel_auroc=found["pixels"]["auroc"],
        aupro=found["pixels"]["aupro"],
        macro_f1=found["types"]["macro_f1"],
        ms=lines.milliseconds(place),
    )


def with_parts(table: Any) -> Any:
    """Runs of numbers joined to the parts that ingest found by their looks; without the picture of the data set."""
    import pyarrow as pa

    rows = [row for row in table.to_pylist() if IMAGE.search(row["source_path"])]
    table = pa.Table.from_pylist(rows, schema=table.schema)
    runs: dict[tuple[str, int], int] = {}
    by_folder: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for place, row in enumerate(rows):
        found = IMAGE.search(row["source_path"])
        assert found
        by_folder[found[1]].append((int(found[3]), int(found[2]), place))
    for folder, members in by_folder.items():
        run, before = 0, (-NEXT_TO - 1, 9)
        for number, exposure, place in sorted(members):
            if number - before[0] > NEXT_TO and exposure <= before[1]:
                run += 1
            runs[folder, place] = run
            before = (number, exposure)
    joined: dict[Any, Any] = {}

    def root(name: Any) -> Any:
        while joined.setdefault(name, name) != name:
            name = joined[name]
        return name

    for (folder, place), run in runs.items():
        joined[root(("run", folder, run))] = root(("looks", rows[place]["part"]))
    names = [""] * len(rows)
    for _, place in runs:
        names[place] = str(root(("looks", rows[place]["part"]))[1])
    return table.set_column(table.schema.get_field_index("part"), "part", pa.array(names, pa.string()))


def _by_part(table: Any) -> dict[str, str]:
    """Each part's defect types in one word."""
    said: dict[str, set[str]] = defaultdict(set)
    for row in table.select(["part", "defect_types"]).to_pylist():
        said[row["part"]] |= set(row["defect_types"] or ())
    return {part: "+".join(sorted(types)) for part, types in said.items()}


def report(results: list[Result]) -> str:
    rows = [
        [
            str(one.seed),
            f"{one.images} of {one.parts}",
            f"{one.image_auroc:.4f}",
            f"{one.iou:.3f}",
            f"{one.pixel_auroc:.4f}",
            f"{one.aupro:.3f}",
            f"{one.macro_f1:.3f}",
            f"{one.minutes:.0f}",
            f"{one.ms:.1f}",
        ]
        for one in results
    ]
    mean = {name: float(np.mean([getattr(one, name) for one in results])) for name in ("image_auroc", "iou")}
    rows.append(["mean", "", f"{mean['image_auroc']:.4f}", f"{mean['iou']:.3f}", "", "", "", "", ""])
    head = ["seed", "test images of parts", "image AUROC", "IoU", "pixel AUROC", "AUPRO", "macro-F1 of types"]
    text = page.table([*head, "minutes of training", "ms an image"], rows)
    promised = ", ".join(f"{name} {bar:g}" for name, bar in BARS.items())
    return f"{text}\n\nPromised: {promised}. Published: {PUBLISHED}; frozen global features by part: AUROC 0.87–0.89."


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with MT_Free, MT_Crack …")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=CHANGES["train"]["epochs"])
    parser.add_argument("--where", type=Path, help="keep the workspaces there; default: a temporary directory")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    given = parser.parse_args(arguments)
    if not (given.data / "MT_Free").is_dir():
        print(f"{given.data} holds no MT_Free: skipped.")
        return 0
    changes = CHANGES | {"train": CHANGES["train"] | {"epochs": given.epochs}}
    with tempfile.TemporaryDirectory(prefix="defectloop-bench-") as temporary:
        where = (given.where or Path(temporary)).resolve()
        results = [measure(given.data, where, seed, given.threads, changes) for seed in given.seeds]
    text = report(results)
    print(text)
    if given.write:
        page.write("Pixels: magnetic tiles", text, page.DETECTORS, changes)
    met = all(
        np.mean([getattr(one, name) for one in results]) >= bar
        for name, bar in (("image_auroc", BARS["AUROC"]), ("iou", BARS["IoU"]))
    )
    return int(not met)


if __name__ == "__main__":
    raise SystemExit(main())
