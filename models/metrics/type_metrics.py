"""Metrics of defect types, on defective images with a known type. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

THRESHOLD = 0.5  # probability from which a type counts as predicted, if images may have several types


@dataclass(frozen=True)
class OneType:
    """Metrics of one type against all others; NaN if undefined."""

    n: int
    precision: float
    recall: float
    f1: float
    auroc: float
    average_precision: float


@dataclass(frozen=True)
class TypeQuality:
    """`confusion[i][j]` counts images of type i whose most probable type is j. Images of several types count in each."""

    n_images: int
    macro_f1: float
    accuracy: float  # share of images whose predicted types are exactly right
    by_type: dict[str, OneType]
    confusion: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict:
        """For JSON: NaN becomes None."""
        values = asdict(self)
        for one in values["by_type"].values():
            one |= {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in one.items()}
        return values


def measure(truth: np.ndarray, probability: np.ndarray, names: Sequence[str]) -> TypeQuality | None:
    """Measure `probability` [n, k] against `truth` bool [n, k], which has at least one type per row. Returns None without
    rows or with only one type.

    If every row has one type, the most probable type is predicted; otherwise every type with a probability from 0.5.
    """
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

    if not len(truth) or len(names) < 2:
        return None
    best = probability.argmax(axis=1)
    single = bool((truth.sum(axis=1) == 1).all())
    predicted = np.eye(len(names), dtype=bool)[best] if single else probability >= THRESHOLD
    precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, average=None, zero_division=0.0)
    has_examples = np.atleast_1d(truth.any(axis=0))
    by_type = {}
    for at, name in enumerate(names):
        both = 0 < truth[:, at].sum() < len(truth)
        by_type[name] = OneType(
            n=int(truth[:, at].sum()),
            precision=float(precision[at]),
            recall=float(recall[at]) if has_examples[at] else math.nan,
            f1=float(f1[at]) if has_examples[at] else math.nan,
            auroc=float(roc_auc_score(truth[:, at], probability[:, at])) if both else math.nan,
            average_precision=float(average_precision_score(truth[:, at], probability[:, at])) if both else math.nan,
        )
    confusion = [
        [int((truth[:, at] & (best == other)).sum()) for other in range(len(names))] for at in range(len(names))
    ]
    return TypeQuality(
        n_images=len(truth),
        macro_f1=float(f1[has_examples].mean()),
        accuracy=float((truth == predicted).all(axis=1).mean()),
        by_type=by_type,
        confusion=tuple(map(tuple, confusion)),
    )
