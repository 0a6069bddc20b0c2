"""What a detector answers on the frozen test parts, and the numbers that follow: the exported file, never a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from models import images
from models.metrics import Metrics, by_part, measure
from models.params import Cost
from models.runtime import Detector
from models.vocabulary import Label, OperatingPoint, Prediction, Split, Verdict

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
    detector: Detector,
    table: pa.Table,
    data_dir: Path,
    split: Split,
    seen: Callable[[int, dict, Prediction], None] = lambda done, row, answer: None,
) -> pa.Table:
    """One row per labelled image of `split`: image, file, part, slice, label, score, raw_score, verdict, and what its
    types are and how probable each is, in the order of the detector's classes.

    `seen` is told of every image: how many were seen with it, its row of `table`, and the whole answer.
    """
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
        seen(done, row, answer)
    return pa.Table.from_pylist(predicted)


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


def _arrays(predictions: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth = np.array([label == Label.DEFECT for label in predictions["label"].to_pylist()])
    return truth, predictions["score"].to_numpy(), np.array(predictions["part"].to_pylist())


def _measure(predictions: pa.Table, chosen: np.ndarray, point: OperatingPoint, bootstrap: int) -> Metrics:
    truth, score, parts = (column[chosen] for column in _arrays(predictions))
    return measure(truth, score, point, groups=parts, bootstrap=bootstrap)
