import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BadData
from models.operating_point import choose
from models.params import Cost
from models.vocabulary import OperatingPoint

NOTHING = np.zeros(0)
costs = st.floats(0.01, 1000)


def cost(escape: float, overkill: float, review: float, max_escape_rate: float | None = None) -> Cost:
    return Cost(escape=escape, overkill=overkill, review=review, max_escape_rate=max_escape_rate)


def test_thresholds_follow_the_costs() -> None:
    assert choose(NOTHING, NOTHING, cost(10, 2, 1)) == OperatingPoint(pass_below=0.1, fail_from=0.5)


def test_no_review_band_where_a_review_costs_too_much() -> None:
    point = choose(NOTHING, NOTHING, cost(3, 1, 5))
    assert point.pass_below == point.fail_from == pytest.approx(0.25)


@given(costs, costs, costs, st.floats(0, 1))
def test_verdict_is_always_the_cheapest(escape: float, overkill: float, review: float, probability: float) -> None:
    verdict = choose(NOTHING, NOTHING, cost(escape, overkill, review)).verdict(probability)
    price = {"pass": probability * escape, "review": review, "fail": (1 - probability) * overkill}
    assert price[verdict] <= min(price.values()) * (1 + 1e-6) + 1e-9


def test_promised_escape_rate_is_kept_on_the_given_parts() -> None:
    random = np.random.default_rng(0)
    truth = random.random(500) < 0.4
    score = np.clip(0.3 * truth + 0.7 * random.random(500), 0, 1)
    point = choose(score, truth, cost(1.5, 2, 1, max_escape_rate=0.02))
    assert (score[truth] < point.pass_below).mean() <= 0.02
    assert point.pass_below > 0


def test_promise_without_defective_parts_is_refused() -> None:
    with pytest.raises(BadData, match="max_escape_rate"):
        choose(np.zeros(3), np.zeros(3, bool), cost(10, 2, 1, max_escape_rate=0.1))
