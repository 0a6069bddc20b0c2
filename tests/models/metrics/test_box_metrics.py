from __future__ import annotations

import math

import numpy as np
import pytest

from models.metrics.box_metrics import average_precision, best_threshold
from models.thresholds import defective_only
from models.vocabulary import Verdict

TRUE = np.array([[0.1, 0.1, 0.4, 0.4, 0], [0.6, 0.6, 0.9, 0.9, 1]], dtype=np.float32)
NOTHING = np.zeros((0, 5), dtype=np.float32)


def found(*rows: tuple[float, ...]) -> np.ndarray:
    """Filled up with a row of zeros, as networks answer."""
    return np.array([*rows, (0,) * 6], dtype=np.float32)


def test_perfect_boxes_have_a_precision_of_one() -> None:
    quality = average_precision([found((*TRUE[0, :4], 0.9, 0), (*TRUE[1, :4], 0.8, 1))], [TRUE], ["a", "b"])
    assert (quality.map50, quality.map50_95) == (pytest.approx(1), pytest.approx(1))
    assert quality.map50_by_type == {"a": pytest.approx(1), "b": pytest.approx(1)}
    assert (quality.n_images, quality.n_boxes) == (1, 2)


def test_a_wrong_type_a_double_and_a_shift_cost_precision() -> None:
    shifted = TRUE[0, :4] + 0.05
    quality = average_precision(
        [found((*shifted, 0.9, 0), (*TRUE[1, :4], 0.8, 0)), found((*TRUE[0, :4], 0.7, 0))], [TRUE, NOTHING], ["a", "b"]
    )
    assert quality.map50_by_type == {"a": pytest.approx(1), "b": pytest.approx(0)}
    assert quality.map50 == pytest.approx(0.5)
    assert 0 < quality.map50_95 < 0.2  # IoU 0.53: right at 0.50 alone


def test_without_true_boxes_precision_is_no_number() -> None:
    assert math.isnan(average_precision([found()], [NOTHING], ["a"]).map50)


def test_the_threshold_is_where_f1_is_best() -> None:
    images = [
        found((*TRUE[0, :4], 0.9, 0), (0, 0, 0.1, 0.1, 0.3, 0)),
        found((*TRUE[1, :4], 0.5, 1), (0, 0, 1, 1, 0.2, 1)),
    ]
    threshold = best_threshold(images, [TRUE[:1], TRUE[1:]])
    assert threshold == pytest.approx(0.4)  # between the last right one and the first wrong one


def test_a_double_counts_as_wrong() -> None:
    twice = found((*TRUE[0, :4], 0.9, 0), (*TRUE[0, :4], 0.8, 0))
    assert best_threshold([twice], [TRUE[:1]]) == pytest.approx(0.85)


def test_without_a_right_box_there_is_no_threshold() -> None:
    assert best_threshold([found((*TRUE[0, :4], 0.9, 1))], [TRUE[:1]]) is None
    assert best_threshold([found()], [NOTHING]) is None
    assert best_threshold([], []) is None


def test_without_good_parts_nothing_passes_and_what_is_found_fails() -> None:
    point = defective_only.operating_point(0.3)
    assert [point.verdict(score) for score in (0.0, 0.29, 0.3)] == [Verdict.REVIEW, Verdict.REVIEW, Verdict.FAIL]
    assert defective_only.CALIBRATOR(np.array([0.0]))[0] == 0.5
