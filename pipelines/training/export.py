"""Stage `export`: export the trained network as one ONNX file. Writes `artifacts/export/`.

Calibration, thresholds, heatmap scale and projection are fitted on the outputs of the exported graph. The finished file is
then compared with the training network on the whole validation split; nothing is written if they disagree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib import metadata
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from models import files
from models.dataset.examples import Examples, subset
from models.detector import graph_cache
from models.detector.onnx_graphs import NETWORK, Finish, detector, export, with_preprocessing
from models.detector.preprocessing import session_of
from models.detector.projection import principal_axes
from models.detector.runtime import INPUT, Detector, DetectorMetadata, as_input
from models.errors import NotReady
from models.evaluation import agreement
from models.files import read_json
from models.images import codec, masks
from models.metrics.verdict_metrics import by_part
from models.params import Params
from models.thresholds import heat_scale, verdict_rule
from models.thresholds.verdict_rule import VerdictRule
from models.training import kinds
from models.vocabulary import Label
from pipelines import line_defect_rate, lineage, progress
from pipelines.training import learning_data
from pipelines.workspace import Workspace

MOST_FOR_PROJECTION = 500  # training images used for the principal axes: a few axes, which many images do not change
MOST_FOR_HEATMAP = 500  # validation images used for the heatmap's scale
READERS = 2


def main(workspace: Workspace) -> None:
    params = workspace.params()
    training, validation = learning_data.splits(workspace, params)
    network = load_network(workspace, params, training.defect_types)
    size = params.model.image_size_px
    traced = workspace.state / "cache" / "features" / graph_cache.FOLDER
    graph = with_preprocessing(export(network, size, network.outputs, traced), size)
    session = session_of(graph, threads=1)
    spread = evenly(len(validation), MOST_FOR_HEATMAP)
    held = answers(session, validation.files, ("raw_score", "boxes"), {"relevance": spread})
    truth, raw = by_part(
        validation.targets > 0, held["raw_score"], np.array(validation.parts)
    )  # a verdict is about a part
    threshold = heat_scale.region_threshold(held.get("boxes"), validation.boxes, validation.targets > 0)
    line = line_defect_rate.of_line(workspace)
    rule = verdict_rule.fit(raw, truth, threshold, params, line.rate)
    of_boxes = threshold if "boxes" in held else None
    scale = heat_scale_of(held["relevance"], network.baseline, subset(validation, spread), of_boxes)
    axes = projection(session, training, params.export.projection_axes)
    finish = Finish(rule.calibrator, scale.usual, scale.begins, *axes)
    described = describe(workspace, params, rule, threshold, told_apart(network, training))
    sealed = detector(graph, finish, described)
    with files.output_directory(workspace.artifacts / "export") as out:
        onnx.save(sealed, out / "detector.onnx")
        agreed = agreement.compare(network, Detector(out / "detector.onnx"), validation, finish, size)
        agreement.require(agreed, params.export.max_score_difference)
        report = asdict(agreed) | {"operating_point": asdict(rule.point), "line_defect_rate": line.rate}
        (out / "export.json").write_text(json.dumps(report, indent=1))
    progress.say(
        f"export: largest score difference {agreed.max_score_difference:.1e} over {agreed.n} images, "
        f"pass below {rule.point.pass_below:.2g}, fail from {rule.point.fail_from:.2g}"
    )
    progress.say(f"export: {verdict_rule.assumed_defect_rate(rule, line.why)}")


def load_network(workspace: Workspace, params: Params, defect_types: Sequence[str]) -> Any:
    """Return the trained `models.training.kinds.Network`. Raises NotReady if there is none."""
    import torch

    path = workspace.artifacts / "train" / "detector.ckpt"
    if not path.exists():
        raise NotReady(f"There is no {path}.", next_step="defectloop train")
    empty = params.model_copy(update={"model": params.model.model_copy(update={"weights": "none"})})
    network = kinds.learner(params.model.kind).build(empty, defect_types)
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return network.eval()


def evenly(n: int, most: int) -> list[bool]:
    """Return which of `n` examples to take so that they are at most `most`, at equal distances."""
    return [number % -(-n // most) == 0 for number in range(n)]


def answers(
    session: onnxruntime.InferenceSession,
    files: Sequence[Path],
    names: Sequence[str],
    of_some: Mapping[str, Sequence[bool]] | None = None,
) -> dict[str, np.ndarray]:
    """Return outputs of the exported network by name, one row per file, from one pass over the files.

    `names` that the network does not have are left out. `of_some` says of which files further outputs are
    kept, because all of them may not fit into memory.
    """
    available = {output.name.removeprefix(NETWORK) for output in session.get_outputs()}
    everywhere: Sequence[bool] = [True] * len(files)
    kept = {name: everywhere for name in names if name in available} | dict(of_some or {})

    def answered(number: int) -> dict[str, np.ndarray]:
        wanted = [name for name, chosen in kept.items() if chosen[number]]
        outputs = session.run([NETWORK + name for name in wanted], {INPUT: as_input(codec.read(files[number]))})
        return dict(zip(wanted, outputs, strict=True))

    with ThreadPoolExecutor(READERS) as pool:
        rows = list(pool.map(answered, range(len(files))))
    return {name: np.concatenate([row[name] for row in rows if name in row]) for name in kept}


def told_apart(network: Any, training: Examples) -> tuple[str, ...]:
    """Return the classes in the order of the class probabilities: the defect types, or one class for all of them."""
    several = len(training.defect_types) > 1 and "type_logits" not in network.outputs
    return (Label.DEFECT.value,) if several else training.defect_types


def heat_scale_of(
    relevance: np.ndarray, baseline: Any, shown: Examples, of_boxes: float | None
) -> heat_scale.HeatScale:
    """Fit the heatmap's scale on `relevance` [n, h, w] of the validation images `shown`. If boxes are the regions, their
    threshold `of_boxes` becomes 0.5."""
    if of_boxes is not None:
        return heat_scale.HeatScale(np.zeros_like(relevance[0]), of_boxes)
    outlines = [
        masks.read(mask, codec.read(file).shape[:2]) if target and mask else None
        for file, mask, target in zip(shown.files, shown.masks, shown.targets, strict=True)
    ]
    drawn = [outline if outline is not None and outline.any() else None for outline in outlines]
    return heat_scale.fit(relevance, shown.targets > 0, drawn, baseline)


def projection(session: onnxruntime.InferenceSession, training: Examples, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `principal_axes` of the training split, on which data drift is measured.

    Synthetic images are excluded, since they never occur in production.
    """
    taken = [file for file, made in zip(training.files, training.synthetic, strict=True) if not made]
    some = list(compress(taken, evenly(len(taken), MOST_FOR_PROJECTION)))
    return principal_axes(answers(session, some, ("embedding",))["embedding"], axes)


def describe(
    workspace: Workspace,
    params: Params,
    rule: VerdictRule,
    threshold: float,
    defect_types: tuple[str, ...],
) -> DetectorMetadata:
    run = read_json(workspace.artifacts / "train" / "run.json", next_step="Create it again: defectloop train")
    learned = params.model_dump_json(include={"model", "train"})
    return DetectorMetadata(
        kind=params.model.kind,
        line=params.line,
        classes=defect_types,
        operating_point=rule.point,
        calibrator=rule.calibrator,
        basis=rule.basis,
        heatmap_threshold=threshold,
        image_size_px=params.model.image_size_px,
        tile_px=params.model.tile_px,
        backbone=params.model.backbone,
        snapshot=run["snapshot"],
        git_commit=lineage.git_commit(workspace),
        mlflow_run_id=run["mlflow_run_id"],
        params_sha256=hashlib.sha256(learned.encode()).hexdigest(),
        defectloop_version=metadata.version("defectloop"),
        defect_rate=rule.defect_rate,
        dataset_defect_rate=rule.dataset_defect_rate,
    )
