from __future__ import annotations

import pytest

from pipelines.review.questions import BETWEEN_THRESHOLDS, why_review
from tests.pipelines.ledger.test_ledger import inspection


@pytest.mark.parametrize(
    ("score", "says"),
    [
        (0.31, "the score 0.310 is 0.010 above the pass threshold 0.300"),
        (0.68, "the score 0.680 is 0.020 below the fail threshold 0.700"),
        (0.3, "the score 0.300 is 0.000 above the pass threshold 0.300"),
    ],
)
def test_the_reason_of_a_review_names_the_nearer_threshold_of_its_inspection(score: float, says: str) -> None:
    assert why_review(inspection("a", score=score, pass_below=0.3, fail_from=0.7)) == says


def test_an_inspection_of_before_has_the_reason_without_numbers() -> None:
    assert why_review(inspection("a")) == BETWEEN_THRESHOLDS
