"""Stage `evaluate`: measures the exported file on the frozen test parts. Writes `artifacts/evaluate/`.

It also computes the drift reference from the validation split, which was not trained on, with the descriptors that the
inspection runtime computes.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from models import files
from models.dataset import annotation_table
from models.detector.runtime import Detector
from models.errors import BadData
from models.evaluation import detail, evaluation, robustness
from models.evaluation import twins as twin_effect
from models.evaluation.evaluation import Evaluation
from models.evaluation.twins import Twins
from models.files import read_json
from models.images import codec, descriptors
from models.metrics import class_mix, costs
from models.metrics.costs import Expected
from models.params import Cost
from models.thresholds import calibration
from models.vocabulary import Label, OperatingPoint, Prediction, Split
from pipelines import progress
from pipelines.audit import audit
from pipelines.audit import twins as twin_parts
from pipelines.line_defect_rate import percent
from pipelines.report import card, curves, page, verdicts
from pipelines.report.ground_truth import GroundTruth
from pipelines.training import kept_predictions
from pipelines.workspace import Workspace

TIMED = 20  # test images whose inspection is timed


def main(workspace: Workspace) -> None:
    params = workspace.params()
    table, annotations_sha256 = annotation_table.load_hashed(workspace.annotations)
    detector = Detector(workspace.artifacts / "export" / "detector.onnx")
    n_test = sum(split == Split.TEST for split in table["split"].to_pylist())
    if not n_test:
        raise BadData("The test split contains no images.", next_step="Ingest more: defectloop ingest FOLDER")
    pixels = detail.Pixels(workspace.data)
    with progress.bar("test parts", n_test) as show:

        def on_prediction(done: int, row: dict, answer: Prediction) -> None:
            show(done)
            pixels.see(row, answer)

        predictions = evaluation.predict(detector, table, workspace.data, Split.TEST, on_prediction)
    point, rate = detector.metadata.operating_point, line_rate(workspace)
    result = evaluation.summarise(predictions, point, params.evaluate.bootstrap)
    line = None if rate is None else evaluation.summarise(predictions, point, params.evaluate.bootstrap, rate)
    expected = in_each_mix(predictions, point, params.cost, rate)
    found = twin_parts.of_test_parts(workspace, table.to_pylist())
    twins = twin_effect.measure(predictions, found.all, found.sure, point, params.evaluate.bootstrap)
    with files.output_directory(workspace.artifacts / "evaluate") as out:
        whose = kept_predictions.origin(detector.sha256, annotations_sha256)
        kept_predictions.write(predictions, whose, out / "predictions.parquet")
        parquet.write_table(reference(detector, table, workspace.data), out / "reference.parquet")
        # Measured on test parts, because the calibrator was fitted on the validation split.
        scores, labels = curves.score_and_truth(predictions)
        error = calibration.expected_error(
            scores, labels, weights=class_mix.weights(labels, detector.metadata.defect_rate)
        )
        beyond = detail.measure(detector, predictions, pixels, table, workspace.data)
        more = {"calibration_error": error} | beyond.to_dict()
        (out / "metrics.json").write_text(
            json.dumps(flat(result) | flat_costs(expected) | flat_twins(twins) | more, indent=1)
        )
        by_mix = {"expected": [one.to_dict() for one in expected], "on_the_line": line and line.to_dict()}
        twins_of = {"twins": twins.to_dict() | {"annotations_sha256": annotations_sha256}}
        took = {"latency_ms": latency_ms(detector, predictions["file"].to_pylist()[:TIMED], workspace.data)}
        (out / "evaluation.json").write_text(json.dumps(result.to_dict() | more | by_mix | twins_of | took, indent=1))
        verdicts.write(predictions, point, out)
        curves.write(predictions, out / "plots")
        robustness_found = measured_robustness(detector, predictions, workspace.data, params.evaluate.robustness)
        (out / "steadiness.json").write_text(
            json.dumps(robustness_found, indent=1)
        )  # this file name is in the dvc.yaml of every workspace
        history = workspace.artifacts / "train" / "history.csv"
        curves.draw(predictions, point, history, out / "figures", detector.metadata.defect_rate)
        shown = GroundTruth(table, workspace.data)
        page.write(
            out,
            predictions,
            result,
            expected,
            beyond,
            robustness_found,
            twins,
            detector,
            shown,
            params.evaluate.gallery,
            params.cost,
        )
        counts = card.counted(table.select(["split", "label", "synthetic", "part"]).to_pylist())
        (out / "model-card.md").write_text(
            card.render(detector, result, expected, beyond, error, robustness_found, twins, counts)
        )
    audit.measure_again(workspace)
    whole = result.overall
    progress.say(
        f"evaluate: {whole.n} test parts, F1 {whole.f1:.3f}, AUROC {whole.auroc:.3f}, "
        f"escape rate {whole.escape_rate:.3f}, overkill rate {whole.overkill_rate:.3f}"
        + "".join(f", {name} {value:.3f}" for name, value in beyond.headlines())
    )
    for one in expected:
        progress.say(
            f"evaluate: at a defect rate of {percent(one.defect_rate)}, {one.review_rate:.1%} of the parts go to review; "
            f"cost per part {one.cost_per_part:.3g} (without inspection: {one.cost_if_all_pass:.3g})"
        )
    if found.all:
        progress.say(f"evaluate: {twin_effect.headline(twins)}")


def latency_ms(detector: Detector, images: Sequence[str], data_dir: Path) -> float:
    """Return the 95th percentile of the time for one image, decoding included, after one image to warm up."""
    times = []
    for file in (images[0], *images):
        started = time.perf_counter()
        detector.predict(codec.read(data_dir / file))
        times.append((time.perf_counter() - started) * 1000)
    return round(float(np.quantile(times[1:], 0.95)), 1)


def line_rate(workspace: Workspace) -> float | None:
    """Return the line's defect rate that `export` used, so that evaluation and thresholds use the same rate."""
    made = read_json(workspace.artifacts / "export" / "export.json", next_step="Make it again: defectloop train")
    rate: float | None = made.get("line_defect_rate")
    return rate


def in_each_mix(predictions: pa.Table, point: OperatingPoint, cost: Cost, rate: float | None) -> list[Expected]:
    """Return the expected outcomes at the dataset's defect rate, and at the line's if it is known."""
    truth, score = evaluation.of_parts(predictions)
    mixes = [float(truth.mean())] + ([] if rate is None else [rate])
    return [costs.expected(truth, score, point, cost, mix) for mix in mixes]


def reference(detector: Detector, table: pa.Table, data_dir: Path) -> pa.Table:
    """Return the drift reference: slice, ground truth and descriptors of the validation split, one row per part."""
    held = [row for row in table.to_pylist() if row["split"] == Split.VALIDATION]
    of_part: dict[str, list[tuple[dict, dict[str, float]]]] = defaultdict(list)
    decoded: deque[np.ndarray] = deque()  # read ahead of the answers, a few at most
    for row, answer in zip(held, detector.predict_many(_read(held, data_dir, decoded)), strict=True):
        of_part[row["part"]].append((row, descriptors.of_inspection(decoded.popleft(), answer)))
    rows = [
        {
            "part": part,
            "slice": views[0][0]["slice"],
            "defective": any(row["label"] == Label.DEFECT for row, _ in views),
        }
        | descriptors.of_part([described for _, described in views])
        for part, views in of_part.items()
    ]
    return pa.Table.from_pylist(rows)


def _read(rows: Sequence[dict], data_dir: Path, kept: deque[np.ndarray]) -> Iterator[np.ndarray]:
    for row in rows:
        kept.append(codec.read(data_dir / row["file"]))
        yield kept[-1]


def measured_robustness(
    detector: Detector, predictions: pa.Table, data_dir: Path, most: int
) -> dict[str, dict[str, float]]:
    """Measure how many verdicts each change of the images alters, on at most `most` evenly spread test images."""
    n = len(predictions)
    chosen = predictions.take(np.linspace(0, n - 1, min(most, n)).astype(int))
    images = (codec.read(data_dir / file) for file in chosen["file"].to_pylist())
    with progress.bar("robustness", len(chosen)) as show:
        by_change = robustness.measure(detector, images, chosen["score"].to_pylist(), show)
    return {change: shares.to_dict() for change, shares in by_change.items()}


def flat(result: Evaluation) -> dict:
    """Return the metrics without intervals, for `dvc metrics diff`."""
    everything = result.to_dict()
    for metrics in (everything["overall"], *everything["slices"].values()):
        for name in ("intervals", "at_most", "defect_rate"):
            del metrics[name]
    return everything


def flat_twins(twins: Twins) -> dict:
    """Return the metrics without test parts that look like a training part, for `dvc metrics diff`."""
    groups = {"overall": twins.overall} | twins.slices
    return {
        "without_twins": {
            name: {"n_with_twin": one.n_with_twin, "auroc": _plain(one.without.auroc), "f1": _plain(one.without.f1)}
            for name, one in groups.items()
        }
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def flat_costs(expected: Sequence[Expected]) -> dict:
    """Return the expected outcomes without intervals, at the dataset's defect rate and at the line's if it is known."""
    return {
        mix: {name: value for name, value in one.to_dict().items() if name != "intervals"}
        for mix, one in zip(("in_the_data", "on_the_line"), expected, strict=False)
    }
