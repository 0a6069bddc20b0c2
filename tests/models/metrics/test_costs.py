import math

import numpy as np
import pytest

from models.metrics import costs
from models.params import Cost
from models.vocabulary import OperatingPoint

PRICE = Cost(escape=100, overkill=10, review=1, max_escape_rate=None, confidence=0.95, false_alarm_rate=0.05)
POINT = OperatingPoint(pass_below=0.3, fail_from=0.6)
# Ten defective parts: 5 escape, 2 go to review. Forty good ones: 2 fail, 4 go to review.
TRUTH = np.repeat([True, False], [10, 40])
SCORE = np.concatenate([np.repeat([0.1, 0.5, 0.9], [5, 2, 3]), np.repeat([0.9, 0.5, 0.1], [2, 4, 34])])


def test_expected_cost_counts_good_and_defective_parts_as_the_line_has_them() -> None:
    found = costs.expected(TRUTH, SCORE, POINT, PRICE, 0.01)
    assert found.review_rate == pytest.approx(0.01 * 0.2 + 0.99 * 0.1)
    assert found.cost_per_part == pytest.approx(0.01 * (50 + 0.2) + 0.99 * (0.1 + 0.5))
    assert found.cost_if_all_pass == pytest.approx(1.0)
    assert found.delivered_defective == pytest.approx(0.005 / (0.005 + 0.99 * 0.85))
    assert found.pass_rate + found.review_rate + found.fail_rate == pytest.approx(1)


def test_in_the_datasets_own_mix_it_is_the_mean_over_parts() -> None:
    paid = costs.of_parts(TRUTH, SCORE, POINT, PRICE)
    found = costs.expected(TRUTH, SCORE, POINT, PRICE, 0.2)
    assert found.cost_per_part == pytest.approx(paid.cost.mean()) == pytest.approx(costs.average(paid, None))
    assert costs.average(paid, 0.01) == pytest.approx(costs.expected(TRUTH, SCORE, POINT, PRICE, 0.01).cost_per_part)


def test_intervals_know_how_few_defective_parts_there_were() -> None:
    found = costs.expected(TRUTH, np.where(TRUTH, 0.9, 0.1), POINT, PRICE, 0.01)  # not one escape
    assert found.cost_per_part == 0
    low, high = found.intervals["cost_per_part"]
    assert (low, high > 0.2) == (0, True)
    low, high = found.intervals["delivered_defective"]
    assert low == 0
    assert high > 0.003


@pytest.mark.parametrize("rate", [0.0, 0.01, 1.0])
def test_a_kind_of_part_that_was_not_tested_leaves_what_it_decides_unknown(rate: float) -> None:
    found = costs.expected(np.zeros(20, bool), np.full(20, 0.1), POINT, PRICE, rate)
    assert math.isnan(found.cost_per_part) == (rate > 0)
    assert found.to_dict()["cost_per_part"] == (None if rate else 0)


def test_which_version_is_cheaper_depends_on_the_lines_defect_rate() -> None:
    """One that passes everything against one that reviews everything."""
    score = np.random.default_rng(0).random(50)
    lenient = costs.of_parts(TRUTH, score, OperatingPoint(1.0, 1.0), PRICE)
    strict = costs.of_parts(TRUTH, score, OperatingPoint(0.0, 1.1), PRICE)
    assert costs.probability_cheaper(lenient, strict, 0.001) == 1
    assert costs.probability_cheaper(lenient, strict, 0.1) == 0
    assert costs.probability_cheaper(lenient, lenient, 0.01) == 0.5
