import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BadData
from models.params import Cost
from models.thresholds.operating_point import choose, escapes_allowed, parts_needed
from models.vocabulary import OperatingPoint

NOTHING = np.zeros(0)
costs = st.floats(0.01, 1000)


def cost(escape: float, overkill: float, review: float, max_escape_rate: float | None = None) -> Cost:
    return Cost(
        escape=escape,
        overkill=overkill,
        review=review,
        max_escape_rate=max_escape_rate,
        confidence=0.95,
        false_alarm_rate=0.05,
    )


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


def parts(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.random(n) < 0.4
    return np.clip(0.3 * truth + 0.7 * random.random(n), 0, 1), truth


def test_a_promised_escape_rate_is_kept_on_parts_not_seen_in_nineteen_of_twenty_lines() -> None:
    later, defective = parts(1_000, 40_000)
    rates = []
    for seed in range(100):
        point = choose(*parts(seed, 500), cost(1.5, 2, 1, max_escape_rate=0.05))
        assert point.pass_below > 0
        rates.append((later[defective] < point.pass_below).mean())
    assert np.mean(np.array(rates) <= 0.05) >= 0.92  # 0.95, and what chance takes from a hundred draws


def test_a_promise_that_too_few_parts_can_prove_says_how_many_are_needed() -> None:
    with pytest.raises(BadData, match="needs 299 defective parts in the validation split; it has 2"):
        choose(np.array([0.1, 0.8, 0.9]), np.array([False, True, True]), cost(10, 2, 1, max_escape_rate=0.01))


@pytest.mark.parametrize("rate", [0.005, 0.01, 0.05, 0.2])
def test_the_number_needed_is_the_smallest_that_suffices(rate: float) -> None:
    needed = parts_needed(rate, 0.95)
    assert escapes_allowed(needed, rate, 0.95) == 0
    assert escapes_allowed(needed - 1, rate, 0.95) is None


def test_a_promise_of_no_escape_at_all_is_refused() -> None:
    with pytest.raises(BadData, match="can be proved by no number"):
        choose(*parts(0, 500), cost(10, 2, 1, max_escape_rate=0))


def test_promise_without_defective_parts_is_refused() -> None:
    with pytest.raises(BadData, match="max_escape_rate"):
        choose(np.zeros(3), np.zeros(3, bool), cost(10, 2, 1, max_escape_rate=0.1))
