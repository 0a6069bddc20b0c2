from __future__ import annotations

import numpy as np
import pytest

from models.metrics import type_metrics

NAMES = ("crack", "dent", "stain")


def test_one_type_an_image_counts_the_most_probable() -> None:
    truth = np.eye(3, dtype=bool)[[0, 0, 1, 2]]
    probability = np.array([[0.4, 0.1, 0.1], [0.1, 0.3, 0.1], [0.1, 0.9, 0.2], [0.0, 0.2, 0.3]])
    found = type_metrics.measure(truth, probability, NAMES)
    assert found is not None
    assert found.accuracy == 0.75
    assert found.confusion == ((1, 1, 0), (0, 1, 0), (0, 0, 1))
    assert found.by_type["crack"].recall == 0.5
    assert found.by_type["dent"].precision == 0.5
    assert found.macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_several_types_an_image_count_from_one_half_on() -> None:
    truth = np.array([[True, True, False], [False, True, False]])
    found = type_metrics.measure(truth, np.array([[0.6, 0.7, 0.1], [0.2, 0.4, 0.1]]), NAMES)
    assert found is not None
    assert found.accuracy == 0.5
    assert found.by_type["dent"].recall == 0.5
    assert found.to_dict()["by_type"]["stain"]["recall"] is None


def test_without_types_to_tell_apart_nothing_is_said() -> None:
    assert type_metrics.measure(np.zeros((0, 3), bool), np.zeros((0, 3)), NAMES) is None
    assert type_metrics.measure(np.ones((2, 1), bool), np.ones((2, 1)), ("crack",)) is None
