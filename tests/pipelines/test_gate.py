from __future__ import annotations

import math
from dataclasses import replace

import pytest

from models.evaluation import Evaluation, probability_cheaper
from models.metrics import Metrics
from models.params import Promote
from pipelines.gate import Contender, decide

RULES = Promote(
    min_auroc=0.8,
    max_escape_rate=0.2,
    max_overkill_rate=0.2,
    max_changed_verdicts=0.25,
    max_turned_verdicts=0.01,
    max_f1_drop=0.03,
    min_probability_cheaper=0.95,
    min_parts=50,
)
FINE = Metrics(200, 60, 0.9, 0.8, 0.85, 0.95, 0.9, 0.02, 0.05, 0.1)


def contender(version: str, learned: tuple[str, ...] = ("matt",), **slices: Metrics) -> Contender:
    return Contender(version, Evaluation(FINE, slices or {"matt": FINE}), learned)


def with_overall(**changes: float) -> Contender:
    return Contender("2", Evaluation(replace(FINE, **changes), {"matt": FINE}), ("matt",))


def test_the_first_version_needs_the_floors_alone() -> None:
    assert decide(contender("1"), None, None, RULES).promote


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"escape_rate": 0.21}, "escape rate 0.210 > 0.200"),
        ({"overkill_rate": 0.3}, "overkill rate 0.300 > 0.200"),
        ({"auroc": 0.79}, "AUROC 0.790 < 0.800"),
        ({"auroc": math.nan}, "AUROC nan < 0.800"),
        ({"n": 49}, "only 49 test parts"),
    ],
)
def test_a_version_below_a_floor_is_refused_with_the_number(change: dict, reason: str) -> None:
    decision = decide(with_overall(**change), None, None, RULES)
    assert not decision.promote
    assert any(reason in said for said in decision.reasons)


def test_a_challenger_that_is_probably_not_cheaper_is_refused() -> None:
    decision = decide(contender("2"), contender("1"), 0.94, RULES)
    assert not decision.promote
    assert "probability 0.940 < 0.95" in decision.reasons[0]


def test_a_challenger_that_forgets_a_slice_the_champion_knew_is_refused() -> None:
    worse = replace(FINE, f1=FINE.f1 - 0.04)
    decision = decide(contender("2", matt=worse, gloss=FINE), contender("1"), 1.0, RULES)
    assert not decision.promote
    assert "F1 on matt falls from 0.850 to 0.810" in decision.reasons[0]


def test_a_slice_that_the_champion_never_learned_does_not_bind() -> None:
    new = contender("2", matt=FINE, gloss=replace(FINE, f1=0.3))
    old = contender("1", matt=FINE, gloss=FINE)
    assert decide(new, old, 1.0, RULES).promote


def test_the_decision_holds_the_numbers_of_both() -> None:
    assert set(decide(contender("2"), contender("1"), 1.0, RULES).numbers["versions"]) == {"1", "2"}


def test_cheaper_on_every_part_is_certain_and_equal_is_even() -> None:
    import numpy as np

    cost = np.random.default_rng(0).random(100)
    assert probability_cheaper(cost - 0.1, cost) == 1
    assert probability_cheaper(cost, cost) == 0.5


def test_a_challenger_whose_verdicts_hang_on_the_light_is_refused() -> None:
    steady = {"10 % lighter": {"changed": 0.25, "turned": 0.01}}
    assert decide(replace(contender("2"), steadiness=steady), None, None, RULES).promote
    worse = steady | {"10 % darker": {"changed": 0.4, "turned": 0.0}, "moved": {"changed": 0.1, "turned": 0.1}}
    refused = decide(replace(contender("2"), steadiness=worse), None, None, RULES)
    assert refused.reasons == (
        "40.0% of the verdicts change when images are 10 % darker, more than 25.0%",
        "10.0% of the verdicts turn round when images are moved, more than 1.0%",
    )
