import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.metrics import intervals
from models.metrics.intervals import Interval


@given(st.integers(0, 60), st.integers(1, 60))
def test_an_exact_interval_is_the_one_of_clopper_and_pearson(hits: int, n: int) -> None:
    hits = min(hits, n)
    theirs = stats.binomtest(hits, n).proportion_ci(0.95, method="exact")
    assert intervals.exact(hits, n) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_the_one_sided_bound_of_none_in_twenty() -> None:
    assert intervals.at_most(0, 20) == pytest.approx(1 - 0.05 ** (1 / 20))


def test_nothing_counted_says_nothing() -> None:
    assert np.isnan(intervals.exact(0, 0)).all()
    assert np.isnan(intervals.at_most(0, 0))


@pytest.mark.parametrize(("rate", "n_defective", "n_good"), [(0.01, 30, 200), (0.3, 20, 40), (0.5, 10, 10)])
def test_the_interval_of_a_mixed_rate_covers_the_truth(rate: float, n_defective: int, n_good: int) -> None:
    """Sent to review: 40 % of the defective and 2 % of the good parts."""
    random, truth = np.random.default_rng(0), rate * 0.4 + (1 - rate) * 0.02
    covered = 0
    for _ in range(600):
        bad, good = random.binomial(n_defective, 0.4), random.binomial(n_good, 0.02)
        span = intervals.weighted_sum(
            (rate, 1 - rate),
            (bad / n_defective, good / n_good),
            (intervals.exact(bad, n_defective), intervals.exact(good, n_good)),
        )
        covered += span.low <= truth <= span.high
    assert covered / 600 >= 0.94


def test_few_defective_parts_widen_a_mixed_rate_by_their_share() -> None:
    few, many = (
        intervals.weighted_sum((0.1, 0.9), (0.0, 0.0), (intervals.exact(0, n), Interval(0, 0))) for n in (5, 500)
    )
    assert few.high == pytest.approx(0.1 * intervals.exact(0, 5).high)
    assert many.high < few.high / 50
