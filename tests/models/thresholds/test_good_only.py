from __future__ import annotations

import numpy as np
import pytest

from models.errors import BadData
from models.thresholds import good_only
from models.vocabulary import Verdict


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2])
def test_no_more_good_parts_than_promised_are_troubled(rate: float) -> None:
    random = np.random.default_rng(0)
    troubled, failed = [], []
    for _ in range(300):
        calibrator, point = good_only.fit(random.gamma(4, 2, 120), rate)
        verdicts = [point.verdict(score) for score in calibrator(random.gamma(4, 2, 200))]
        troubled.append(np.mean([verdict != Verdict.PASS for verdict in verdicts]))
        failed.append(np.mean([verdict == Verdict.FAIL for verdict in verdicts]))
    assert np.mean(troubled) <= rate * 1.1
    assert np.mean(troubled) >= rate * 0.5  # and a promise of much is used
    assert np.mean(failed) <= 0.001


def test_what_is_far_from_everything_good_fails() -> None:
    calibrator, point = good_only.fit(np.linspace(10, 12, 60), 0.05)
    assert [point.verdict(score) for score in calibrator(np.array([11.0, 12.05, 13.1]))] == ["pass", "review", "fail"]


def test_too_few_parts_for_the_rate_say_how_many_are_needed() -> None:
    with pytest.raises(BadData, match=r"0\.01 needs 99 good parts in the validation split; it has 42"):
        good_only.fit(np.arange(42.0), 0.01)
    good_only.fit(np.arange(99.0), 0.01)


def test_equal_scores_make_no_impossible_thresholds() -> None:
    calibrator, point = good_only.fit(np.full(30, 3.0), 0.05)
    assert point.verdict(float(calibrator(np.array([3.0]))[0])) == Verdict.PASS
    assert np.isfinite(calibrator(np.array([1e6]))).all()
