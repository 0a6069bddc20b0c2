from __future__ import annotations

import numpy as np
import pytest

from models.metrics.sequential import evidence_above


def test_looking_after_every_part_raises_no_more_false_alarms_than_promised() -> None:
    random, alarms, histories = np.random.default_rng(0), 0, 200
    for _ in range(histories):
        hits = np.cumsum(random.random(300) < 0.1)
        alarms += any(evidence_above(int(k), n, 0.1) >= 20 for n, k in enumerate(hits, start=1))
    assert alarms / histories <= 0.05 + 3 * (0.05 * 0.95 / histories) ** 0.5


def test_a_share_that_is_three_times_as_large_is_found_soon() -> None:
    hits = np.cumsum(np.random.default_rng(0).random(300) < 0.3)
    found = next(n for n, k in enumerate(hits, start=1) if evidence_above(int(k), n, 0.1) >= 100)
    assert found < 100


@pytest.mark.parametrize(("hits", "n", "expected", "value"), [(0, 0, 0.3, 1.0), (1, 1, 0.0, np.inf), (5, 5, 1.0, 1.0)])
def test_the_limits_are_defined(hits: int, n: int, expected: float, value: float) -> None:
    assert evidence_above(hits, n, expected) == pytest.approx(value)


def test_one_part_weighs_as_the_formula_says() -> None:
    assert evidence_above(1, 1, 0.5) == pytest.approx(1.5)  # ∫ q dq over (0.5, 1), by 0.5, over 0.5
