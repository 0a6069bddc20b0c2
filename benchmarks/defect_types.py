"""Which defect it is, on real steel: X-SDD, seven types. Run: python -m benchmarks.defect_types --data FOLDER

`FOLDER` holds a folder of images for each type. 70/30 split, stratified by type, near duplicates kept together; a tenth of
the 70 is the validation split. Every image is decoded to pixels, so that PNG or JPEG tells nothing. There is no good
image, so no verdict is learned: the network is trained and its exported graph is asked for types alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import lines, page

BAR = 0.99
CHANGES = {"train": {"epochs": 60}}
PUBLISHED = "RepVGG with attention 0.9325 (own split)"
TEST, VALIDATION = 0.30, 0.07


@dataclass(frozen=True)
class Result:
    seed: int
    n: int
    macro_f1: float
    accuracy: float
    minutes: float


def measure(data: Path, where: Path, seed: int) -> Result:
    from models.dataset import annotation_table, examples
    from models.detector.onnx_graphs import NETWORK, export, with_preprocessing
    from models.detector.preprocessing import session_of
    from models.detector.runtime import INPUT, as_input
    from models.images import codec
    from models.metrics import type_metrics
    from models.training import kinds
    from models.training.context import TrainingContext
    from models.vocabulary import Split
    from pipelines.ingest import ingest
    from pipelines.initialise import init

    place = init(where / f"seed-{seed}", "steel")
    ingest.ingest(place, str(data))
    lines.split(place, lambda row: tuple(row["defect_types"]), seed, test=TEST, validation=VALIDATION)
    lines.settle(place, {"train": CHANGES["train"] | {"seed": seed}})
    table, params = annotation_table.load(place.annotations), place.params()
    learn, check, test = (examples.of_split(table, place.data, split, ()) for split in Split)
    started = time.perf_counter()
    context = TrainingContext(params, where / "work", where / "features")
    trained = kinds.learner("classification").train(learn, check, context)
    minutes = (time.perf_counter() - started) / 60
    size = params.model.image_size_px
    graph = with_preprocessing(export(trained.network, size, trained.network.outputs), size)
    session = session_of(graph, threads=2)
    wanted = [f"{NETWORK}type_logits"]
    logits = np.concatenate([session.run(wanted, {INPUT: as_input(codec.read(file))})[0] for file in test.files])
    truth = np.zeros_like(logits, dtype=bool)
    for row, types in enumerate(test.types):
        truth[row, list(types)] = True
    found = type_metrics.measure(truth, 1 / (1 + np.exp(-logits)), test.defect_types)
    if found is None:
        raise SystemExit(f"{data} holds no folders of several types")
    return Result(seed, len(truth), found.macro_f1, found.accuracy, minutes)


def report(results: list[Result]) -> str:
    rows = [
        [str(one.seed), str(one.n), f"{one.macro_f1:.4f}", f"{one.accuracy:.4f}", f"{one.minutes:.1f}"]
        for one in results
    ]
    mean = [float(np.mean([getattr(one, name) for one in results])) for name in ("macro_f1", "accuracy")]
    rows.append(["mean", "", f"{mean[0]:.4f}", f"{mean[1]:.4f}", ""])
    text = page.table(["seed", "test images", "macro-F1", "accuracy", "minutes of training"], rows)
    return f"{text}\n\nPromised macro-F1 {BAR:g}. Published: {PUBLISHED}."


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder with a folder of images for each type")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    given = parser.parse_args(arguments)
    if not given.data.is_dir():
        print(f"{given.data} is not there: skipped.")
        return 0
    with tempfile.TemporaryDirectory(prefix="defectloop-bench-") as temporary:
        results = []
        for seed in given.seeds:
            results.append(measure(given.data, Path(temporary), seed))
            for left in (Path(temporary) / "work").glob("*"):
                left.unlink()  # the next seed starts anew
    text = report(results)
    print(text)
    if given.write:
        page.write("Which defect: X-SDD", text, page.DETECTORS, CHANGES)
    return int(float(np.mean([one.macro_f1 for one in results])) < BAR)


if __name__ == "__main__":
    raise SystemExit(main())
