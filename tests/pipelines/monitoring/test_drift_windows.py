from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pipelines.ledger.tables import Inspection
from pipelines.monitoring import drift_windows
from pipelines.monitoring.drift_windows import comparable, parts_of
from tests.pipelines.ledger.test_ledger import inspection


def inspected(*items: Inspection) -> list[Inspection]:
    """In this order, as the ledger numbers them."""
    for number, item in enumerate(items):
        item.id = number
    return list(items)


def reference(matt: int = 50, gloss: int = 30, **more: list) -> dict[str, list]:
    n = matt + gloss
    return {
        "slice": ["matt"] * matt + ["gloss"] * gloss,
        "brightness": [0.1] * matt + [0.9] * gloss,
        "score": np.linspace(0, 1, n).tolist(),
    } | more


def test_a_window_of_one_known_slice_is_held_against_that_slice_alone() -> None:
    assert comparable(reference(), ["gloss", "gloss"], None)["brightness"] == [0.9] * 30


def test_a_window_of_several_slices_is_held_against_the_same_mix() -> None:
    found = comparable(reference(), ["gloss"] * 60 + ["matt"] * 20, None)["brightness"]
    assert (found.count(0.9), found.count(0.1)) == (30, 10)


def test_too_few_rows_in_the_windows_mix_are_not_thinned_further() -> None:
    assert len(comparable(reference(60, 3), ["gloss", "matt"], None)["brightness"]) == 63


@pytest.mark.parametrize("slices", [("velvet",), ("gloss", "velvet"), (None,), ()])
def test_a_window_with_an_unknown_slice_is_held_against_everything(slices: tuple) -> None:
    assert len(comparable(reference(), slices, None)["brightness"]) == 80


def test_the_reference_has_as_many_defective_parts_as_the_line() -> None:
    defective = ([True] * 20 + [False] * 30) + [False] * 30
    truth = reference(defective=defective, part=[str(number) for number in range(80)])
    found = comparable(truth, ["matt"], 0.1)
    assert set(found) == {"brightness", "score"}
    assert len(found["score"]) == 33  # 30 good ones, and 3 of 20 defective ones
    assert len(comparable(truth, ["velvet"], 0.1)["score"]) == 67  # 60 good ones, and 7


def test_a_reference_of_an_older_version_without_truth_still_serves() -> None:
    assert len(comparable(reference(), ["matt"], 0.01)["score"]) == 50
    assert len(comparable({"brightness": [0.5] * 40, "score": [0.1] * 40}, ["matt"], 0.01)["score"]) == 40


def test_a_part_is_one_row_described_by_its_most_suspicious_image() -> None:
    seen = inspected(
        inspection("a", "p1", view="top", image="aa" * 32, score=0.2, descriptors={"score": 0.2, "brightness": 0.5}),
        inspection("b", "p1", view="side", image="bb" * 32, score=0.7, descriptors={"score": 0.7, "brightness": 0.9}),
        inspection("c", "p2", image="cc" * 32, score=0.1, descriptors={"score": 0.1, "brightness": 0.4}),
    )
    assert [dict(part.descriptors) for part in parts_of(seen)] == [seen[1].descriptors, seen[2].descriptors]


def test_of_several_photographs_of_one_view_the_latest_counts() -> None:
    seen = inspected(
        inspection("a", view="top", score=0.9, descriptors={"score": 0.9, "brightness": 0.5}),
        inspection("b", view="top", image="bb" * 32, score=0.1, descriptors={"score": 0.1, "brightness": 0.4}),
    )
    assert [dict(part.descriptors) for part in parts_of(seen)] == [seen[1].descriptors]


def test_a_healthy_line_with_few_defects_does_not_drift_from_a_reference_at_its_rate() -> None:
    """The reference is a dataset with a third of defective parts; production has none, half a percent or one percent."""
    random = np.random.default_rng(0)

    def parts(n: int, share: float) -> tuple[np.ndarray, dict[str, list[float]]]:
        truth = random.random(n) < share
        values = {name: (random.normal(size=n) + 2 * truth).tolist() for name in ("score", "projection_0", "contrast")}
        return truth, values

    truth, values = parts(160, 0.34)
    accepted_on = values | {"defective": truth.tolist()}
    alarms = dict.fromkeys((None, 0.01), 0)
    for draw in range(60):
        _, window = parts(400, (0, 0.005, 0.01)[draw % 3])
        for rate in alarms:
            held = comparable(accepted_on, [None] * 400, rate)
            shifted = [stats.ks_2samp(window[name], held[name]).pvalue < 0.01 / 3 for name in window]
            alarms[rate] += sum(shifted) >= 1
    assert alarms[None] == 60
    assert alarms[0.01] <= 2


def test_the_fewest_rows_hold_for_a_slice_alone() -> None:
    assert drift_windows.FEWEST == 20
    assert len(comparable(reference(60, 10), ["gloss"], None)["score"]) == 70
