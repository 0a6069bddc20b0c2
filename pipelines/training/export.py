"""Stage `export`: the trained network becomes one sealed ONNX file, or nothing. Writes `artifacts/export/`.

Calibration, thresholds, heatmap scale and projection are fitted on what the exported graph itself answers. The gate
then holds the finished file against the training network on the whole validation split.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from models import files
from models.dataset.examples import Examples, chosen_from
from models.detector.onnx_graphs import NETWORK, Finish, detector, export, with_preprocessing
from models.detector.preprocessing import session_of
from models.detector.runtime import INPUT, Detector, DetectorMetadata, as_input
from models.errors import NotReady
from models.evaluation import agreement
from models.files import read_json
from models.images import codec, masks
from models.metrics import box_metrics
from models.metrics.verdict_metrics import by_part
from models.params import Params
from models.thresholds import calibration, defective_only, good_only, heat_scale, operating_point
from models.thresholds.defect_rate import shifted
from models.training import kinds
from models.vocabulary import Label, OperatingPoint
from pipelines import line_defect_rate, lineage, progress
from pipelines.training import learning_data
from pipelines.workspace import Workspace

MOST_FOR_PROJECTION = 2000  # training images that the principal axes are taken from
MOST_FOR_HEATMAP = 500  # validation images that the heatmap's scale is taken from
READERS = 2


def main(workspace: Workspace) -> None:
    params = workspace.params()
    training, validation = learning_data.splits(workspace, params)
    network = load_network(workspace, params, training.defect_types)
    size = params.model.image_size_px
    graph = with_preprocessing(export(network, size, network.outputs), size)
    held = answers(graph, validation.files)
    truth, raw = by_part(
        validation.targets > 0, held["raw_score"], np.array(validation.parts)
    )  # a verdict is about a part
    threshold = region_threshold(held.get("boxes"), validation)
    line = line_defect_rate.of_line(workspace)
    judging = from_score_to_verdict(raw, truth, threshold, params, line.rate)
    scale = heat_scale_of(graph, network.baseline, validation, threshold if "boxes" in held else None)
    axes = projection(graph, training, params.export.projection_axes)
    finish = Finish(judging.calibrator, scale.usual, scale.begins, *axes)
    described = describe(workspace, params, judging, threshold, told_apart(network, training))
    sealed = detector(graph, finish, described)
    with files.output_directory(workspace.artifacts / "export") as out:
        onnx.save(sealed, out / "detector.onnx")
        agreed = agreement.compare(network, Detector(out / "detector.onnx"), validation, finish, size)
        agreement.require(agreed, params.export.max_score_difference)
        report = asdict(agreed) | {"operating_point": asdict(judging.point), "line_defect_rate": line.rate}
        (out / "export.json").write_text(json.dumps(report, indent=1))
    progress.say(
        f"export: largest score difference {agreed.max_score_difference:.1e} over {agreed.n} images, "
        f"pass below {judging.point.pass_below:.2g}, fail from {judging.point.fail_from:.2g}"
    )
    progress.say(f"export: {assumed(judging, line.why)}")


def load_network(workspace: Workspace, params: Params, defect_types: Sequence[str]) -> Any:
    """The trained `models.training.kinds.Network`."""
    import torch

    path = workspace.artifacts / "train" / "detector.ckpt"
    if not path.exists():
        raise NotReady(f"There is no {path}.", next_step="defectloop train")
    empty = params.model_copy(update={"model": params.model.model_copy(update={"weights": "none"})})
    network = kinds.learner(params.model.kind).build(empty, defect_types)
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return network.eval()


def answers(graph: onnx.ModelProto, files: Sequence[Path], *more: str) -> dict[str, np.ndarray]:
    """What the exported network says before it is finished, by output, one row per file: raw scores, its own boxes where
    it finds any, and `more`."""
    session = session_of(graph, threads=1)
    available = {output.name.removeprefix(NETWORK) for output in session.get_outputs()}
    wanted = [name for name in ("raw_score", "boxes", *more) if name in available]
    named = [NETWORK + name for name in wanted]
    with ThreadPoolExecutor(READERS) as pool:
        rows = list(pool.map(lambda path: session.run(named, {INPUT: as_input(codec.read(path))}), files))
    return {name: np.concatenate(column) for name, column in zip(wanted, zip(*rows, strict=True), strict=True)}


@dataclass(frozen=True)
class Judging:
    """From raw scores to verdicts. `defect_rate` is the line's, that both are for; None: the dataset's."""

    calibrator: calibration.Calibrator
    point: OperatingPoint
    basis: str
    dataset_defect_rate: float
    defect_rate: float | None = None


def from_score_to_verdict(
    raw: np.ndarray, truth: np.ndarray, threshold: float, params: Params, defect_rate: float | None = None
) -> Judging:
    """From raw scores of validation parts [n] and their truth; where all are alike, what that allows.

    With the line's `defect_rate` probabilities and thresholds are for parts as the line has them.
    """
    share, cost = float(truth.mean()), params.cost
    if truth.all():
        point = defective_only.operating_point(threshold)
        return Judging(defective_only.CALIBRATOR, point, defective_only.BASIS, share)
    if not truth.any():
        basis = good_only.basis(len(raw), cost.false_alarm_rate)
        return Judging(*good_only.fit(raw, cost.false_alarm_rate), basis, share)
    calibrator = calibration.fit(raw, truth)
    method = f"{calibrator.method} on {len(raw)} validation parts"
    if defect_rate is not None:
        calibrator = shifted(calibrator, share, defect_rate)
        method += f", shifted from {share:.2g} defective ones among them to {defect_rate:.2g} on the line"
    basis = (
        f"{method}; costs of {cost.escape:g} for an escape, {cost.overkill:g} for overkill, {cost.review:g} for a review"
        f"{promised(params)}"
    )
    return Judging(calibrator, operating_point.choose(calibrator(raw), truth, cost), basis, share, defect_rate)


def promised(params: Params) -> str:
    """What the bound of escapes rests on, in words: early stopping has seen the parts that prove it."""
    most = params.cost.max_escape_rate
    if most is None:
        return ""
    caveat = (
        "; early stopping (train.patience) chose the epoch on the same parts, so the bound is optimistic: the test parts "
        "say what it is worth"
    )
    return f", and an escape rate of at most {most:g}" + ("" if params.train.patience is None else caveat)


def assumed(judging: Judging, why: str) -> str:
    """Which defect rate score and thresholds are for."""
    share = judging.dataset_defect_rate
    if share in (0, 1):
        return f"the validation split holds {'defective' if share else 'good'} parts alone, so no defect rate counts"
    if judging.defect_rate is not None:
        return why
    return f"{why}, {share:.2g} of the validation parts; a line with fewer needs the number (docs/choosing-costs.md)"


def told_apart(network: Any, training: Examples) -> tuple[str, ...]:
    """The defect types in the order of the class probabilities; one that stands for all where the network tells no types."""
    several = len(training.defect_types) > 1 and "type_logits" not in network.outputs
    return (Label.DEFECT.value,) if several else training.defect_types


def region_threshold(boxes: np.ndarray | None, validation: Examples) -> float:
    """From where on something is a region: of the network's own boxes where their F1 is best, else of the heatmap."""
    if boxes is None:
        return heat_scale.BEGINS
    is_marked = [len(true) > 0 or not target for true, target in zip(validation.boxes, validation.targets, strict=True)]
    marked = [true for true, kept in zip(validation.boxes, is_marked, strict=True) if kept]
    return box_metrics.best_threshold(list(boxes[is_marked]), marked) or heat_scale.BEGINS


def heat_scale_of(
    graph: onnx.ModelProto, baseline: Any, validation: Examples, of_boxes: float | None
) -> heat_scale.HeatScale:
    """From the validation split, of which a share is enough; where boxes are regions, heat is 0.5 where they begin."""
    chosen = chosen_from(validation, np.arange(len(validation)) % (-(-len(validation) // MOST_FOR_HEATMAP)) == 0)
    relevance = answers(graph, chosen.files, "relevance")["relevance"]
    if of_boxes is not None:
        return heat_scale.HeatScale(np.zeros_like(relevance[0]), of_boxes)
    outlines = [
        masks.read(mask, codec.read(file).shape[:2]) if target and mask else None
        for file, mask, target in zip(chosen.files, chosen.masks, chosen.targets, strict=True)
    ]
    drawn = [outline if outline is not None and outline.any() else None for outline in outlines]
    return heat_scale.fit(relevance, chosen.targets > 0, drawn, baseline)


def projection(graph: onnx.ModelProto, training: Examples, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre [d] and principal axes [d, k] of the training split's embeddings, scaled to unit variance.

    Drift is measured on these axes, so they rest on photographs: production holds nothing that was made.
    """
    taken = [file for file, made in zip(training.files, training.synthetic, strict=True) if not made]
    embedding = answers(graph, taken[:: -(-len(taken) // MOST_FOR_PROJECTION)], "embedding")["embedding"]
    centre = embedding.mean(0)
    _, spread, directions = np.linalg.svd(embedding - centre, full_matrices=False)
    axes = min(axes, len(spread))
    scale = np.maximum(spread[:axes] / np.sqrt(len(embedding)), 1e-6)
    directions = directions[:axes] * np.where(directions[:axes].sum(1) < 0, -1, 1)[:, None]  # a sign that never flips
    return centre, (directions / scale[:, None]).T


def describe(
    workspace: Workspace,
    params: Params,
    judging: Judging,
    threshold: float,
    defect_types: tuple[str, ...],
) -> DetectorMetadata:
    run = read_json(workspace.artifacts / "train" / "run.json", next_step="Make it again: defectloop train")
    learned = params.model_dump_json(include={"model", "train"})
    return DetectorMetadata(
        kind=params.model.kind,
        line=params.line,
        classes=defect_types,
        operating_point=judging.point,
        calibrator=judging.calibrator,
        basis=judging.basis,
        heatmap_threshold=threshold,
        image_size_px=params.model.image_size_px,
        tile_px=params.model.tile_px,
        backbone=params.model.backbone,
        snapshot=run["snapshot"],
        git_commit=lineage.git_commit(workspace),
        mlflow_run_id=run["mlflow_run_id"],
        params_sha256=hashlib.sha256(learned.encode()).hexdigest(),
        defectloop_version=metadata.version("defectloop"),
        defect_rate=judging.defect_rate,
        dataset_defect_rate=judging.dataset_defect_rate,
    )
