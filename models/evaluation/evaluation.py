"""Predictions of the exported file (never a checkpoint) on the frozen test parts, and their metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from models.detector.runtime import Detector
from models.images import codec
from models.metrics.verdict_metrics import Metrics, by_part, measure
from models.vocabulary import Label, OperatingPoint, Prediction, Split


@dataclass(frozen=True)
class Evaluation:
    """Metrics over all parts, and per slice."""

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
    on_prediction: Callable[[int, dict, Prediction], None] = lambda done, row, answer: None,
) -> pa.Table:
    """Return one row per labelled image of `split`: image, file, part, slice, label, score, raw_score, verdict, defect types
    and class probabilities in the order of the detector's classes.

    `on_prediction` is called for every image with the number of images so far, its row of `table`, and the prediction.
    """
    rows = [row for row in table.to_pylist() if row["split"] == split and row["label"]]
    answers = detector.predict_many(codec.read(data_dir / row["file"]) for row in rows)
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
        on_prediction(done, row, answer)
    return pa.Table.from_pylist(predicted)


def summarise(
    predictions: pa.Table, point: OperatingPoint, bootstrap: int, defect_rate: float | None = None
) -> Evaluation:
    """Return the metrics over all parts and per slice, optionally at the line's `defect_rate`."""
    slices = np.array(predictions["slice"].to_pylist())
    everything = np.ones(len(slices), dtype=bool)
    return Evaluation(
        overall=_measure(predictions, everything, point, bootstrap, defect_rate),
        slices={
            str(name): _measure(predictions, slices == name, point, bootstrap, defect_rate)
            for name in np.unique(slices)
        },
    )


def of_parts(predictions: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return (truth, score) of each part [n], ordered by name."""
    return by_part(*_arrays(predictions))


def _arrays(predictions: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth = np.array([label == Label.DEFECT for label in predictions["label"].to_pylist()])
    return truth, predictions["score"].to_numpy(), np.array(predictions["part"].to_pylist())


def _measure(
    predictions: pa.Table, chosen: np.ndarray, point: OperatingPoint, bootstrap: int, defect_rate: float | None
) -> Metrics:
    truth, score, parts = (column[chosen] for column in _arrays(predictions))
    return measure(truth, score, point, groups=parts, bootstrap=bootstrap, defect_rate=defect_rate)
