"""Beyond verdicts: which defect it is, where, and how many are found for a set share of false alarms. From test parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from models.detector.runtime import Detector
from models.images import codec, masks
from models.metrics import box_metrics, pixel_metrics, type_metrics
from models.metrics.box_metrics import BoxQuality
from models.metrics.pixel_metrics import PixelQuality
from models.metrics.type_metrics import TypeQuality
from models.metrics.verdict_metrics import by_part, recall_at
from models.vocabulary import Label, Prediction, Split

LEAST_SURE = 0.001  # boxes below that score change no average precision
FALSE_ALARMS = (0.01, 0.05)  # shares of good parts


@dataclass(frozen=True)
class Detail:
    """What the annotations allow: None where they don't, or where the detector says nothing about it."""

    boxes: BoxQuality | None
    types: TypeQuality | None
    pixels: PixelQuality | None
    recall_at: dict[str, float]  # of defective parts, by the share of good parts that score as high

    def to_dict(self) -> dict[str, Any]:
        named = {"boxes": self.boxes, "types": self.types, "pixels": self.pixels}
        measured = {name: quality.to_dict() for name, quality in named.items() if quality}
        return measured | ({"recall_at_false_alarm_rate": self.recall_at} if self.recall_at else {})

    def headlines(self) -> Iterator[tuple[str, float]]:
        """What is said in one line, and what versions are compared by."""
        if self.types:
            yield f"macro-F1 of {len(self.types.by_type)} types", self.types.macro_f1
        if self.boxes:
            yield "boxes mAP50", self.boxes.map50
            yield "mAP50–95", self.boxes.map50_95
        if self.pixels:
            yield "IoU of pixels", self.pixels.iou
            yield "pixel AUROC", self.pixels.auroc
            yield "AUPRO", self.pixels.aupro


class Pixels:
    """Compares the heatmap of every image that it sees with the mask; forgets both."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.tally = pixel_metrics.Tally()

    def see(self, row: dict, answer: Prediction) -> None:
        """Defective images without a mask say nothing: nobody knows which of their pixels are."""
        size = row["height_px"], row["width_px"]
        good = row["label"] == Label.GOOD
        if not good and not row["mask"]:
            return
        mask = np.zeros(size, dtype=bool) if good else masks.read(self.data_dir / row["mask"], size)
        if good or mask.any():
            self.tally.add(codec.stretched(answer.heatmap, *size), mask)


def measure(detector: Detector, predictions: pa.Table, pixels: Pixels, table: pa.Table, data_dir: Path) -> Detail:
    """`predictions` are what `evaluation.predict` answered on the test split, whose images `pixels` has seen."""
    return Detail(
        boxes=box_quality(detector, table, data_dir, Split.TEST),
        types=type_quality(predictions, detector.metadata.classes),
        pixels=pixels.tally.quality(0.5 if detector.finds_boxes else detector.metadata.heatmap_threshold),
        recall_at=_recall(predictions),
    )


def _recall(predictions: pa.Table) -> dict[str, float]:
    defective = np.array([label == Label.DEFECT for label in predictions["label"].to_pylist()])
    truth, raw = by_part(defective, predictions["raw_score"].to_numpy(), np.array(predictions["part"].to_pylist()))
    if truth.all() or not truth.any():
        return {}
    return {f"{rate:g}": recall_at(truth, raw, rate) for rate in FALSE_ALARMS}


def box_quality(detector: Detector, table: pa.Table, data_dir: Path, split: Split) -> BoxQuality | None:
    """Average precision on the images of `split` where somebody said where the defects are, and on the good ones.

    None where nobody did, or the detector finds no boxes by itself. Boxes of types that it does not know can't be
    found, and don't count.
    """
    rows = [row for row in table.to_pylist() if row["split"] == split and (row["boxes"] or row["label"] == Label.GOOD)]
    if not detector.finds_boxes or not any(row["boxes"] for row in rows):
        return None
    types = detector.metadata.classes
    predicted, truth = [], []
    for row in rows:
        image = codec.read(data_dir / row["file"])
        regions = detector.predict(image, region_threshold=LEAST_SURE).regions
        predicted.append(
            _box_rows(
                [(r.x, r.y, r.width, r.height, r.score, types.index(r.defect_type or types[0])) for r in regions], 6
            )
        )
        truth.append(_true_boxes(row, types))
    return box_metrics.average_precision(predicted, truth, types) if any(map(len, truth)) else None


def type_quality(predictions: pa.Table, types: Sequence[str]) -> TypeQuality | None:
    """On the defective images of types that the detector knows; None where there are none, or it tells none apart."""
    rows = [
        row for row in predictions.to_pylist() if row["label"] == Label.DEFECT and set(row["defect_types"]) & set(types)
    ]
    truth = np.array([[name in row["defect_types"] for name in types] for row in rows], dtype=bool)
    return type_metrics.measure(truth, np.array([row["class_probabilities"] for row in rows]), types)


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
