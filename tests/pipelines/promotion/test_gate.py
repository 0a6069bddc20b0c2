from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from models.evaluation.evaluation import Evaluation
from models.metrics.costs import PartCosts, probability_cheaper
from models.metrics.verdict_metrics import Metrics
from models.params import MinParts, Promote
from pipelines.promotion.gate import Contender, decide

RULES = Promote(
    min_auroc=0.8,
    max_escape_rate=0.2,
    max_overkill_rate=0.2,
    max_changed_verdicts=0.25,
    max_flipped_verdicts=0.01,
    max_f1_drop=0.03,
    min_probability_cheaper=0.95,
    min_parts=50,  # type: ignore[arg-type]  # as older files have it: of each kind
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
        ({"n": 0, "n_defective": 0}, "the test split has no good parts"),
    ],
)
def test_a_version_below_a_floor_is_refused_with_the_number(change: dict, reason: str) -> None:
    decision = decide(with_overall(**change), None, None, RULES)
    assert not decision.promote
    assert any(reason in said for said in decision.reasons)


def test_what_twins_do_to_the_metrics_is_said_and_decides_nothing() -> None:
    decision = decide(replace(contender("1"), twins="3 of 9 test parts look like a training part"), None, None, RULES)
    assert decision.promote
    assert decision.reasons[-1] == decision.numbers["twins"] == "3 of 9 test parts look like a training part"


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
    cost, defective = np.random.default_rng(0).random(100), np.arange(100) < 30
    champion, challenger = PartCosts(cost, defective), PartCosts(cost - 0.1, defective)
    for rate in (None, 0.01):
        assert probability_cheaper(challenger, champion, rate) == 1
        assert probability_cheaper(champion, champion, rate) == 0.5


def test_test_parts_of_each_kind_are_counted_apart() -> None:
    few = with_overall(n=200, n_defective=49)
    assert decide(few, None, None, RULES).reasons == (
        "only 49 defective test parts, 50 are needed (promote.min_parts)",
    )
    few = with_overall(n=100, n_defective=51)
    assert decide(few, None, None, RULES).reasons == ("only 49 good test parts, 50 are needed (promote.min_parts)",)


def test_a_line_with_only_good_test_parts_is_told_what_nobody_knows() -> None:
    """An anomaly line: AUROC and escape rate are undefined, which is no number below a floor."""
    only_good = with_overall(n=200, n_defective=0, auroc=math.nan, escape_rate=math.nan, recall=math.nan, f1=math.nan)
    refused = decide(only_good, None, None, RULES)
    assert len(refused.reasons) == 1
    assert "has no defective parts, so the escape rate is unknown: 50 are needed" in refused.reasons[0]
    content = RULES.model_copy(update={"min_parts": MinParts(good=50, defective=0)})
    accepted = decide(only_good, None, None, content)
    assert accepted.promote
    assert "the test split has no defective or no good parts" in accepted.reasons[0]
    wasteful = Contender("2", Evaluation(replace(only_good.evaluation.overall, overkill_rate=0.3), {}), ("matt",))
    assert decide(wasteful, None, None, content).reasons == ("overkill rate 0.300 > 0.200",)


def test_a_slice_is_compared_at_the_lines_defect_rate() -> None:
    """Thresholds for 1 % defective parts look bad in a mix with a third, and are right on the line."""
    old = replace(contender("1"), on_the_line=Evaluation(FINE, {"matt": replace(FINE, f1=0.2)}))
    new = contender("2", matt=replace(FINE, f1=0.5))
    at_line = replace(new, on_the_line=Evaluation(FINE, {"matt": replace(FINE, f1=0.4)}))
    assert decide(at_line, old, 1.0, RULES).promote
    assert not decide(new, contender("1"), 1.0, RULES).promote


def test_a_challenger_whose_verdicts_hang_on_the_light_is_refused() -> None:
    robust = {"10 % lighter": {"changed": 0.25, "flipped": 0.01}}
    assert decide(replace(contender("2"), robustness=robust), None, None, RULES).promote
    worse = robust | {"10 % darker": {"changed": 0.4, "flipped": 0.0}, "moved": {"changed": 0.1, "flipped": 0.1}}
    refused = decide(replace(contender("2"), robustness=worse), None, None, RULES)
    assert refused.reasons == (
        "40.0% of the verdicts change when images are 10 % darker, more than 25.0%",
        "10.0% of the verdicts flip when images are moved, more than 1.0%",
    )


def poly(escapes: int, overkill: int) -> Metrics:
    """113 defective and 274 good parts."""
    return replace(FINE, n=387, n_defective=113, escape_rate=escapes / 113, overkill_rate=overkill / 274)


def test_the_reasons_count_parts_and_costs_as_a_buyer_does() -> None:
    old = replace(contender("1", poly=poly(4, 259)), cost_per_part={"poly": 1.7})
    new = replace(contender("2", poly=poly(8, 25)), cost_per_part={"poly": 0.9})
    reasons = decide(new, old, 1.0, RULES).reasons
    assert reasons[1] == (
        "on poly 4 more of 113 defective parts pass (8, was 4), 234 fewer of 274 good parts fail (25, was 259), "
        "cost per part 0.9 instead of 1.7"
    )
    same = decide(contender("2", poly=poly(4, 9)), contender("1", poly=poly(4, 9)), 1.0, RULES).reasons[1]
    assert same == "on poly 4 of 113 defective parts pass, as before, 9 of 274 good parts fail, as before"


@pytest.mark.parametrize(("most", "waits"), [(None, False), (0.05, False), (0.03, True)])
def test_escapes_that_rise_by_more_than_the_policy_wait_for_a_person(most: float | None, waits: bool) -> None:
    rules = RULES.model_copy(update={"max_escape_rise": most})
    new, old = contender("2", poly=poly(8, 25)), contender("1", poly=poly(4, 259))
    decision = decide(new, old, 1.0, rules)
    assert (decision.waits, decision.promote) == (waits, not waits)
    assert not waits or "escape rate on poly rises from 0.035 to 0.071" in decision.reasons[0]
    assert not waits or "defectloop promote 2 --accept-escapes" in decision.reasons[-1]
    accepted = decide(new, old, 1.0, rules, "escapes accepted by quality lab: agreed")
    assert accepted.promote
    assert not waits or accepted.reasons[-1] == "escapes accepted by quality lab: agreed"


def test_a_version_that_misses_a_limit_is_refused_and_cannot_be_accepted() -> None:
    rules = RULES.model_copy(update={"max_escape_rise": 0.03})
    decision = decide(contender("2", poly=poly(8, 25)), contender("1", poly=poly(4, 259)), 0.5, rules, "accepted by x")
    assert (decision.promote, decision.waits) == (False, False)
