import json
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from models.metrics.verdict_metrics import Metrics, measure, recall_at
from models.vocabulary import OperatingPoint

POINT = OperatingPoint(pass_below=0.3, fail_from=0.6)


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.random(300) < 0.3
    return truth, np.round(0.3 * truth + 0.7 * random.random(300), 2)  # rounded: ties


def test_numbers_are_those_of_scikit_learn(scored: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = scored
    measured = measure(truth, score, POINT, groups=np.arange(300), bootstrap=0)
    assert measured.auroc == pytest.approx(roc_auc_score(truth, score))
    assert measured.average_precision == pytest.approx(average_precision_score(truth, score))
    assert measured.f1 == pytest.approx(f1_score(truth, score >= 0.6))


def test_verdicts_are_counted_per_part() -> None:
    truth = np.array([True, True, True, False, False, False])
    score = np.array([0.1, 0.4, 0.9, 0.1, 0.4, 0.9])
    measured = measure(truth, score, POINT, groups=list("abcdef"), bootstrap=0)
    assert measured.escape_rate == measured.overkill_rate == measured.review_rate == pytest.approx(1 / 3)


def test_a_part_is_as_suspicious_as_its_worst_image() -> None:
    measured = measure(np.array([True, True]), np.array([0.1, 0.9]), POINT, groups=["a", "a"], bootstrap=0)
    assert (measured.n, measured.escape_rate, measured.recall) == (1, 0.0, 1.0)


def test_intervals_hold_the_number_and_are_repeatable(scored: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = scored
    first, second = (measure(truth, score, POINT, groups=np.arange(300), bootstrap=250) for _ in range(2))
    assert first == second
    for name, (low, high) in first.intervals.items():
        assert low <= getattr(first, name) <= high


def test_undefined_numbers_are_nan_and_none_in_json() -> None:
    measured = measure(np.zeros(3, bool), np.full(3, 0.1), POINT, groups=list("abc"), bootstrap=100)
    assert all(math.isnan(value) for value in (measured.recall, measured.auroc, measured.f1))
    assert measured.to_dict()["auroc"] is None
    assert measured.overkill_rate == 0


def test_nothing_to_measure_is_not_an_error() -> None:
    assert measure(np.zeros(0, bool), np.zeros(0), POINT, groups=[], bootstrap=100).n == 0


def test_json_round_trip(scored: tuple[np.ndarray, np.ndarray]) -> None:
    measured = measure(*scored, POINT, groups=np.arange(300), bootstrap=100)
    assert Metrics.from_dict(json.loads(json.dumps(measured.to_dict()))) == measured


@pytest.mark.parametrize(("rate", "found"), [(0.0, 0.5), (0.1, 0.75), (0.3, 1.0), (1.0, 1.0)])
def test_recall_at_a_false_alarm_rate_counts_what_lies_above_all_other_good_parts(rate: float, found: float) -> None:
    good = np.linspace(0.0, 0.9, 10)  # one in ten may be a false alarm: above 0.8
    defective = np.array([0.95, 0.99, 0.85, 0.7])
    truth, score = np.repeat([False, True], [10, 4]), np.concatenate([good, defective])
    assert recall_at(truth, score, rate) == found


def test_no_escape_in_twenty_is_no_proof_that_none_will_escape() -> None:
    truth, score = np.repeat([True, False], [20, 80]), np.repeat([0.9, 0.1], [20, 80])
    measured = measure(truth, score, POINT, groups=np.arange(100), bootstrap=100)
    assert measured.escape_rate == 0
    assert measured.intervals["escape_rate"] == pytest.approx((0, 0.168), abs=5e-4)
    assert measured.at_most["escape_rate"] == pytest.approx(0.139, abs=5e-4)  # one-sided
    assert measured.intervals["recall"] == pytest.approx((0.832, 1), abs=5e-4)
    assert measured.intervals["overkill_rate"][1] == pytest.approx(0.045, abs=5e-4)


def test_numbers_of_an_older_version_are_read(scored: tuple[np.ndarray, np.ndarray]) -> None:
    said = measure(*scored, POINT, groups=np.arange(300), bootstrap=0).to_dict()
    del said["at_most"], said["defect_rate"]
    assert Metrics.from_dict(said).defect_rate is None


def test_at_the_lines_defect_rate_only_what_mixes_good_and_defective_parts_changes(
    scored: tuple[np.ndarray, np.ndarray],
) -> None:
    as_is = measure(*scored, POINT, groups=np.arange(300), bootstrap=100)
    line = measure(*scored, POINT, groups=np.arange(300), bootstrap=100, defect_rate=0.01)
    for name in ("recall", "auroc", "escape_rate", "overkill_rate"):
        assert getattr(line, name) == pytest.approx(getattr(as_is, name))
    expected = 0.01 * line.recall / (0.01 * line.recall + 0.99 * line.overkill_rate)
    assert line.precision == pytest.approx(expected)
    assert line.precision < as_is.precision / 5
    for name, (low, high) in line.intervals.items():
        assert low <= getattr(line, name) <= high
    assert Metrics.from_dict(json.loads(json.dumps(line.to_dict()))) == line
