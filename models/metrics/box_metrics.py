"""Metrics of predicted boxes: COCO average precision, and the score threshold with the best F1. Pure.

Predicted boxes are [m, 6] as in `models.training.kinds.Network`, padded with rows of score 0; ground truth boxes are [m, 5]
as in `models.dataset.examples.Examples`. Coordinates are relative or in pixels, the same for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

SAME = 0.5  # IoU from which a predicted box counts as a true positive


@dataclass(frozen=True)
class BoxQuality:
    """Mean average precision over types; map50_95 is also the mean over IoU thresholds 0.50 to 0.95. NaN without boxes."""

    n_images: int
    n_boxes: int
    map50: float
    map50_95: float
    map50_by_type: dict[str, float]

    def to_dict(self) -> dict:
        return asdict(self)


def average_precision(
    predicted: Sequence[np.ndarray], truth: Sequence[np.ndarray], defect_types: Sequence[str]
) -> BoxQuality:
    """Compute average precision with torchmetrics and pycocotools. Types without ground truth are ignored. Imports torch."""
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(backend="pycocotools", extended_summary=True)
    metric.warn_on_many_detections = False
    metric.update(
        [
            {
                "boxes": torch.from_numpy(rows[:, :4]).float(),
                "scores": torch.from_numpy(rows[:, 4]).float(),
                "labels": torch.from_numpy(rows[:, 5]).long(),
            }
            for rows in (each[each[:, 4] > 0] for each in predicted)
        ],
        [
            {"boxes": torch.from_numpy(rows[:, :4]).float(), "labels": torch.from_numpy(rows[:, 4]).long()}
            for rows in truth
        ],
    )
    answer = metric.compute()
    at_same = answer["precision"][0, :, :, 0, -1]  # IoU threshold, recall, type, any area, most detections
    by_type = {
        defect_types[int(kind)]: float(at_same[:, column].mean())
        for column, kind in enumerate(answer["classes"].reshape(-1).tolist())
        if (at_same[:, column] >= 0).all()
    }
    return BoxQuality(
        n_images=len(truth),
        n_boxes=sum(map(len, truth)),
        map50=float(answer["map_50"]) if by_type else float("nan"),
        map50_95=float(answer["map"]) if by_type else float("nan"),
        map50_by_type=by_type,
    )


def best_threshold(predicted: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float | None:
    """Return the score threshold with the best F1, or None without ground truth boxes or true positives.

    It lies half way to the next lower score, so that rounding errors have no effect.
    """
    n_true = sum(map(len, truth))
    scores = np.concatenate([rows[rows[:, 4] > 0, 4] for rows in predicted]) if len(predicted) else np.zeros(0)
    right = (
        np.concatenate([_right(*pair) for pair in zip(predicted, truth, strict=True)])
        if len(predicted)
        else np.zeros(0)
    )
    if not n_true or not right.any():
        return None
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order].astype(np.float64), right[order]
    f1 = 2 * np.cumsum(right) / (np.arange(1, len(right) + 1) + n_true)
    best = int(f1.argmax())
    below = scores[best + 1 :][scores[best + 1 :] < scores[best]]
    return float((scores[best] + (below[0] if len(below) else 0.0)) / 2)


def _right(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return bool [m]: which predicted boxes are true positives. Each ground truth box matches the best box of its type."""
    predicted = predicted[predicted[:, 4] > 0]
    free = np.ones(len(truth), dtype=bool)
    right = np.zeros(len(predicted), dtype=bool)
    for place in np.argsort(-predicted[:, 4], kind="stable"):
        overlap = np.where(free & (truth[:, 4] == predicted[place, 5]), _overlap(predicted[place], truth), 0.0)
        if len(overlap) and overlap.max() >= SAME:
            free[overlap.argmax()] = False
            right[place] = True
    return right


def _overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    sides = np.minimum(box[2:4], others[:, 2:4]) - np.maximum(box[:2], others[:, :2])
    common = np.clip(sides, 0, None).prod(1)
    areas = (others[:, 2:4] - others[:, :2]).prod(1)
    return common / np.maximum((box[2:4] - box[:2]).prod() + areas - common, 1e-12)
