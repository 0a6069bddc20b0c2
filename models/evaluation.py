"""What a detector answers on the frozen test parts, and the numbers that follow: the exported file, never a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from models import box_metrics, images, type_metrics
from models.box_metrics import BoxQuality
from models.metrics import Metrics, by_part, measure
from models.params import Cost
from models.runtime import Detector
from models.type_metrics import TypeQuality
from models.vocabulary import Label, OperatingPoint, Split, Verdict

LEAST_SURE = 0.001  # boxes below that score change no average precision
_RESAMPLES = 2000


@dataclass(frozen=True)
class Evaluation:
    """All parts together, and every slice alone."""

    overall: Metrics
    slices: dict[str, Metrics]

    def to_dict(self) -> dict:
        return {
            "overall": self.overall.to_dict(),
            "slices": {name: metrics.to_dict() for name, metrics in self.slices.items()},
        }

    @classmethod
    def from_dict(cls, values: dict) -> Evaluation:
        slices = {name: Metrics.from_dict(metrics) for name, metrics in values["slices"].items()}
        return cls(Metrics.from_dict(values["overall"]), slices)


def predict(
    detector: Detector, table: pa.Table, data_dir: Path, split: Split, show: Callable[[int], None] = lambda done: None
) -> pa.Table:
    """One row per labelled image of `split`: image, file, part, slice, label, score, raw_score, verdict, and what its
    types are and how probable each is, in the order of the detector's classes."""
    rows = [row for row in table.to_pylist() if row["split"] == split and row["label"]]
    answers = detector.predict_many(images.read(data_dir / row["file"]) for row in rows)
    kept = ("image", "file", "part", "slice", "label")
    predicted = []
    for done, (row, answer) in enumerate(zip(rows, answers, strict=True), start=1):
        predicted.append(
            {name: row[name] for name in kept}
            | {
                "score": answer.score,
                "raw_score": answer.raw_score,
                "verdict": detector.verdict(answer.score).value,
                "defect_types": row["defect_types"] or [],
                "class_probabilities": [answer.class_probabilities[name] for name in detector.metadata.classes],
            }
        )
        show(done)
    return pa.Table.from_pylist(predicted)


def box_quality(detector: Detector, table: pa.Table, data_dir: Path, split: Split) -> BoxQuality | None:
    """Average precision on the images of `split` where somebody said where the defects are, and on the good ones.

    None where nobody did, or the detector finds no boxes by itself. Boxes of types that it does not know can't be
    found, and don't count.
    """
    rows = [row for row in table.to_pylist() if row["split"] == split and (row["boxes"] or row["label"] == Label.GOOD)]
    if not detector.finds_boxes or not any(row["boxes"] for row in rows):
        return None
    types = detector.metadata.classes
    found, truth = [], []
    for row in rows:
        image = images.read(data_dir / row["file"])
        regions = detector.predict(image, region_threshold=LEAST_SURE).regions
        found.append(
            _box_rows(
                [(r.x, r.y, r.width, r.height, r.score, types.index(r.defect_type or types[0])) for r in regions], 6
            )
        )
        truth.append(_true_boxes(row, types))
    return box_metrics.average_precision(found, truth, types) if any(map(len, truth)) else None


def type_quality(predictions: pa.Table, types: Sequence[str]) -> TypeQuality | None:
    """On the defective images of types that the detector knows; None where there are none, or it tells none apart."""
    rows = [
        row for row in predictions.to_pylist() if row["label"] == Label.DEFECT and set(row["defect_types"]) & set(types)
    ]
    truth = np.array([[name in row["defect_types"] for name in types] for row in rows], dtype=bool)
    return type_metrics.measure(truth, np.array([row["class_probabilities"] for row in rows]), types)


def summarise(predictions: pa.Table, point: OperatingPoint, bootstrap: int) -> Evaluation:
    """Metrics of all parts and of each slice."""
    slices = np.array(predictions["slice"].to_pylist())
    everything = np.ones(len(slices), dtype=bool)
    return Evaluation(
        overall=_measure(predictions, everything, point, bootstrap),
        slices={str(name): _measure(predictions, slices == name, point, bootstrap) for name in np.unique(slices)},
    )


def cost_per_part(predictions: pa.Table, point: OperatingPoint, cost: Cost) -> np.ndarray:
    """What the verdict on each part costs, in the order of the parts' names [n]."""
    truth, score = by_part(*_arrays(predictions))
    verdicts = [point.verdict(value) for value in score]
    price = {Verdict.PASS: (0.0, cost.escape), Verdict.REVIEW: (cost.review,) * 2, Verdict.FAIL: (cost.overkill, 0.0)}
    return np.array([price[verdict][int(defective)] for verdict, defective in zip(verdicts, truth, strict=True)])


def probability_cheaper(challenger: np.ndarray, champion: np.ndarray, seed: int = 0) -> float:
    """Share of paired bootstrap resamples of the same parts in which the challenger's verdicts cost less.

    Both are costs per part [n] in the same order. Ties count half. Pairing takes out what makes a part hard for both.
    """
    difference = challenger - champion
    random = np.random.default_rng(seed)
    draws = np.array(
        [difference[random.integers(0, len(difference), len(difference))].mean() for _ in range(_RESAMPLES)]
    )
    return float((draws < 0).mean() + 0.5 * (draws == 0).mean())


def _true_boxes(row: dict, types: Sequence[str]) -> np.ndarray:
    only = next(iter(row["defect_types"] or ()), None)
    named = [(box, box["defect_type"] or only or types[0]) for box in row["boxes"] or ()]
    return _box_rows(
        [(b["x"], b["y"], b["width"], b["height"], types.index(name)) for b, name in named if name in types], 5
    )


def _box_rows(rows: Sequence[tuple[float, ...]], columns: int) -> np.ndarray:
    """x, y, width, height, … to left, top, right, bottom, …: float32 [m, columns]."""
    boxes = np.array(rows, dtype=np.float32).reshape(-1, columns)
    boxes[:, 2:4] += boxes[:, :2]
    return boxes


def _arrays(predictions: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth = np.array([label == Label.DEFECT for label in predictions["label"].to_pylist()])
    return truth, predictions["score"].to_numpy(), np.array(predictions["part"].to_pylist())


def _measure(predictions: pa.Table, chosen: np.ndarray, point: OperatingPoint, bootstrap: int) -> Metrics:
    truth, score, parts = (column[chosen] for column in _arrays(predictions))
    return measure(truth, score, point, groups=parts, bootstrap=bootstrap)
