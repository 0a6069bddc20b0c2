"""Further metrics on test parts: defect types, boxes, pixels, and recall at given false positive rates."""

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

LEAST_SURE = 0.001  # boxes with lower scores do not change the average precision
FALSE_ALARMS = (0.01, 0.05)  # false positive rates


@dataclass(frozen=True)
class Detail:
    """Further metrics; None if the annotations or the detector do not provide them."""

    boxes: BoxQuality | None
    types: TypeQuality | None
    pixels: PixelQuality | None
    recall_at: dict[str, float]  # recall by false positive rate

    def to_dict(self) -> dict[str, Any]:
        named = {"boxes": self.boxes, "types": self.types, "pixels": self.pixels}
        measured = {name: quality.to_dict() for name, quality in named.items() if quality}
        return measured | ({"recall_at_false_alarm_rate": self.recall_at} if self.recall_at else {})

    def headlines(self) -> Iterator[tuple[str, float]]:
        """Yield the metrics for the progress line and for comparisons."""
        if self.types:
            yield f"macro-F1 of {len(self.types.by_type)} types", self.types.macro_f1
        if self.boxes:
            yield "boxes mAP50", self.boxes.map50
            yield "mAP50–95", self.boxes.map50_95
        if self.pixels:
            yield "pixel IoU", self.pixels.iou
            yield "pixel AUROC", self.pixels.auroc
            yield "AUPRO", self.pixels.aupro


class Pixels:
    """Compares heatmaps with masks, one image at a time, without storing them."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.tally = pixel_metrics.Tally()

    def see(self, row: dict, answer: Prediction) -> None:
        """Add one image. Defective images without a mask are ignored."""
        size = row["height_px"], row["width_px"]
        good = row["label"] == Label.GOOD
        if not good and not row["mask"]:
            return
        mask = np.zeros(size, dtype=bool) if good else masks.read(self.data_dir / row["mask"], size)
        if good or mask.any():
            self.tally.add(codec.stretched(answer.heatmap, *size), mask)


def measure(detector: Detector, predictions: pa.Table, pixels: Pixels, table: pa.Table, data_dir: Path) -> Detail:
    """Compute the metrics. `predictions` come from `evaluation.predict` on the test split, and `pixels` from its images."""
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
    """Return the average precision on the images of `split` that have boxes, and on good images.

    None if there are no boxes, or if the detector does not predict boxes. Boxes of types unknown to the detector are
    ignored.
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
    """Return metrics on defective images of known types. None if there are none, or fewer than two types."""
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
    """Convert x, y, width, height, … to left, top, right, bottom, …: float32 [m, columns]."""
    boxes = np.array(rows, dtype=np.float32).reshape(-1, columns)
    boxes[:, 2:4] += boxes[:, :2]
    return boxes
