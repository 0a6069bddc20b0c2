from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from models.evaluation import twins
from models.evaluation.twins import Twins
from models.metrics.verdict_metrics import measure
from models.vocabulary import OperatingPoint

POINT = OperatingPoint(pass_below=0.3, fail_from=0.6)


def predictions(truth: np.ndarray, score: np.ndarray, slices: np.ndarray) -> pa.Table:
    return pa.table(
        {
            "part": [f"p{number:04d}" for number in range(len(truth))],
            "slice": slices.tolist(),
            "label": ["defect" if bad else "good" for bad in truth],
            "score": score.tolist(),
        }
    )


def drawn(n: int, twin_share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Truth, score, slice and twins; the score knows a third of the truth, and nothing of who has a twin."""
    random = np.random.default_rng(seed)
    truth = random.random(n) < 0.35
    score = np.clip(random.normal(0.35 + 0.25 * truth, 0.2), 0, 1)
    return truth, score, np.where(random.random(n) < 0.5, "matt", "shiny"), random.random(n) < twin_share


def named(twin: np.ndarray) -> list[str]:
    return [f"p{number:04d}" for number in np.flatnonzero(twin)]


def test_twins_that_were_learned_by_heart_flatter_the_metrics() -> None:
    truth, score, slices, twin = drawn(400, 0.3)
    found = twins.measure(predictions(truth, np.where(twin, truth, score), slices), named(twin), [], POINT, 300)
    assert "AUROC" in found.flattering
    assert "They flatter the metrics" in twins.in_words(found)
    assert "they flatter the metrics" in twins.headline(found)


def test_twins_that_are_as_hard_as_the_rest_do_not_flatter() -> None:
    flattering = 0
    for seed in range(20):
        truth, score, slices, twin = drawn(300, 0.25, seed)
        found = twins.measure(predictions(truth, score, slices), named(twin), [], POINT, 200)
        flattering += bool(found.flattering)
    assert flattering <= 2  # 5 % of the data sets at most, whatever the number of slices and metrics


def test_another_share_of_defective_parts_among_the_twins_is_no_effect() -> None:
    """Most twins are good: without them, F1 would rise by the mix alone."""
    truth, score, slices, _ = drawn(600, 0)
    twin = ~truth & (np.random.default_rng(1).random(600) < 0.6)
    found = twins.measure(predictions(truth, score, slices), named(twin), [], POINT, 200)
    f1 = measure(truth[~twin], score[~twin], POINT, groups=np.arange(600)[~twin].astype(str), bootstrap=0).f1
    one = found.overall.differences["f1"]
    assert f1 > one.all_parts + 0.03  # what a comparison of unequal mixes would have said
    assert one.low < 0 < one.high


def test_in_a_slice_the_metrics_without_twins_are_those_of_the_difference() -> None:
    truth, score, slices, twin = drawn(300, 0.3)
    for effect in twins.measure(predictions(truth, score, slices), named(twin), [], POINT, 50).slices.values():
        assert effect.without.n == effect.n - effect.n_with_twin
        assert effect.without.auroc == pytest.approx(effect.differences["auroc"].without)
        assert effect.without.f1 == pytest.approx(effect.differences["f1"].without)
        assert effect.without.intervals["escape_rate"][1] > 0


def test_where_every_defective_part_has_a_twin_nothing_is_asserted() -> None:
    truth, score, slices, _ = drawn(100, 0)
    found = twins.measure(predictions(truth, score, slices), named(truth), [], POINT, 50)
    assert not found.flattering
    assert not found.measured
    assert "too few parts are left" in twins.in_words(found)
    assert "cannot be measured" in twins.headline(found)


def test_without_twins_the_line_says_so() -> None:
    truth, score, slices, _ = drawn(50, 0)
    assert twins.in_words(twins.measure(predictions(truth, score, slices), [], [], POINT, 20)).startswith(
        "No test part"
    )


def test_the_effect_survives_json() -> None:
    truth, score, slices, twin = drawn(120, 0.3)
    found = twins.measure(predictions(truth, score, slices), named(twin), named(twin)[:2], POINT, 20)
    again = Twins.from_dict(json.loads(json.dumps(found.to_dict())))
    assert twins.in_words(again) == twins.in_words(found)
    assert "2 of them surely as the same photograph" in twins.in_words(again)
