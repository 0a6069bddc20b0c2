from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from models.params import SplitShares
from pipelines.ingest.splits import assign

SHARES = SplitShares(train=0.6, validation=0.15, test=0.25)


@given(st.integers(1, 400))
def test_shares_hold_within_one_part_in_every_stratum(n: int) -> None:
    counts = Counter(assign(((f"part{i}", ("matt", "good")) for i in range(n)), SHARES).values())
    for split, share in (("train", 0.6), ("validation", 0.15), ("test", 0.25)):
        assert abs(counts[split] - share * n) <= 1.5


def test_assignment_depends_on_names_not_on_their_order() -> None:
    parts = [(f"part{i}", ("matt", "good")) for i in range(50)]
    assert assign(parts, SHARES) == assign(reversed(parts), SHARES)


def test_a_slice_with_enough_test_parts_shares_the_rest_among_training_and_validation() -> None:
    existing = {("gloss", "good"): Counter(test=400)}
    counts = Counter(assign(((f"p{i}", ("gloss", "good")) for i in range(100)), SHARES, existing).values())
    assert counts["test"] == 0
    assert counts["train"] == 80
    assert counts["validation"] == 20
