from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from models.evaluation.evaluation import Evaluation
from models.metrics.paired_costs import Paired
from models.metrics.verdict_metrics import Metrics
from models.params import MinParts, Promote
from pipelines.promotion.evidence import Comparison, level
from pipelines.promotion.gate import Contender, decide

RULES = Promote(
    min_auroc=0.8,
    max_escape_rate=0.2,
    max_overkill_rate=0.2,
    max_changed_verdicts=0.25,
    max_flipped_verdicts=0.01,
    min_probability_cheaper=0.95,
    min_parts=50,  # type: ignore[arg-type]  # as older files have it: of each kind
)
FINE = Metrics(200, 60, 0.9, 0.8, 0.85, 0.95, 0.9, 0.02, 0.05, 0.1)


def contender(version: str, **slices: Metrics) -> Contender:
    return Contender(version, Evaluation(FINE, slices or {"matt": FINE}))


def with_overall(**changes: float) -> Contender:
    return Contender("2", Evaluation(replace(FINE, **changes), {"matt": FINE}))


def paired(fewer_escapes: int = 0, more_escapes: int = 0, defective: int = 60, good: int = 140) -> Paired:
    """Parts on which both versions agree, except for some escapes that only one of them has."""
    difference = np.zeros(defective)
    difference[:fewer_escapes], difference[-more_escapes or defective :] = -10, 10
    return Paired(difference, np.zeros(good), defective / (defective + good), 10, 1.7)


def compared(whole: Paired, look: int = 1, types: dict[str, Paired] | None = None, **slices: Paired) -> Comparison:
    return Comparison("1", whole, slices or {"matt": whole}, types or {}, look)


CLEAR = compared(paired(fewer_escapes=12))


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


def test_a_challenger_that_is_no_cheaper_is_refused() -> None:
    decision = decide(contender("2"), contender("1"), compared(paired()), RULES)
    assert not decision.promote
    assert "no cheaper verdicts than version 1" in decision.reasons[0]


def test_three_escapes_fewer_are_no_evidence_and_six_are() -> None:
    """By chance, an equal challenger has all of three differences in its favour once in eight trials."""
    few = decide(contender("2"), contender("1"), compared(paired(fewer_escapes=3)), RULES)
    assert not few.promote
    assert "not enough evidence for cheaper verdicts than version 1 by 0.15 per part" in few.reasons[0]
    assert "more test parts" in few.reasons[0]
    assert decide(contender("2"), contender("1"), compared(paired(fewer_escapes=6)), RULES).promote


def test_every_further_look_at_the_same_test_parts_needs_more_evidence() -> None:
    whole = paired(fewer_escapes=6)  # by chance once in 64
    assert decide(contender("2"), contender("1"), compared(whole, look=1), RULES).promote
    again = decide(contender("2"), contender("1"), compared(whole, look=2), RULES)
    assert not again.promote
    assert "look 2 at these test parts" in again.reasons[0]
    assert sum(level(RULES, look) for look in range(1, 1000)) < 0.05


def test_the_slices_that_triggered_have_to_get_better_and_the_others_not_worse() -> None:
    better, equal = paired(fewer_escapes=12), paired(defective=60, good=140)
    of_both = Paired(
        np.concatenate([better.defective, equal.defective]), np.concatenate([better.good, equal.good]), 0.3, 10, 1.7
    )
    slices = {"poly": better, "mono": equal}
    new, old = contender("2"), contender("1")
    assert decide(new, old, compared(of_both, **slices), RULES, triggered=["poly"]).promote
    refused = decide(new, old, compared(of_both, **slices), RULES, triggered=["mono"])
    assert "no cheaper verdicts than version 1 on slice mono" in refused.reasons[0]
    unknown = decide(new, old, compared(of_both, **slices), RULES, triggered=["matt"])
    assert unknown.reasons[0] == "not enough evidence: there are no test parts of slice matt"


def test_a_challenger_that_forgets_a_slice_is_refused() -> None:
    slices = {"poly": paired(fewer_escapes=30), "mono": paired(more_escapes=9)}
    decision = decide(contender("2"), contender("1"), compared(paired(30, 9), **slices), RULES)
    assert not decision.promote
    assert "cost on slice mono rises by 0.45 per part, with probability 0.99" in decision.reasons[0]


def test_a_challenger_that_misses_a_defect_type_is_refused() -> None:
    types = {"crack": paired(more_escapes=7, good=0), "stain": paired(fewer_escapes=30, good=0)}
    decision = decide(contender("2"), contender("1"), compared(paired(30, 7), types=types), RULES)
    assert decision.reasons[0].startswith("cost on defect type crack rises")


@pytest.mark.parametrize(("policy", "promoted", "waits"), [("report", 1, 0), ("ask", 0, 1), ("refuse", 0, 0)])
def test_a_slice_with_ten_defective_parts_proves_nothing_and_the_policy_says_what_follows(
    policy: str, promoted: int, waits: int
) -> None:
    slices = {"poly": paired(fewer_escapes=20), "mono": paired(more_escapes=1, defective=10, good=20)}
    rules = RULES.model_copy(update={"without_evidence": policy, "max_escape_rate": 1.0, "max_overkill_rate": 1.0})
    new, old = contender("2"), contender("1")
    decision = decide(new, old, compared(paired(20, 1), **slices), rules)
    assert (decision.promote, decision.waits) == (promoted, waits)
    assert any("not enough evidence that slice mono is not worse" in reason for reason in decision.reasons)
    assert any("more test parts" in reason for reason in decision.reasons)
    assert decide(new, old, compared(paired(20, 1), **slices), rules, "accepted by x").promote == (policy != "refuse")


def test_a_slice_where_an_equal_challenger_would_be_shown_not_worse_binds() -> None:
    """Enough parts, no clear loss, but more than the margin cannot be excluded."""
    some = np.zeros(4000)
    some[:1010], some[1010:1950] = 10, -10
    wide = Paired(some, np.zeros(8000), 1 / 3, 10, 1.7)
    slices = {"poly": paired(fewer_escapes=30), "mono": replace(wide, defective=np.append(some, np.full(140, 10.0)))}
    rules = RULES.model_copy(update={"max_cost_rise": 0.05})
    decision = decide(contender("2"), contender("1"), compared(paired(30), **slices), rules)
    assert not decision.promote
    assert "cost on slice mono rises" in decision.reasons[0]


@pytest.mark.parametrize(
    ("rate", "of", "said"),
    [
        (0.0, 60, "escape rate at most 0.049 with 95% confidence, below 0.2"),
        (0.1, 20, "not enough evidence for an escape rate below 0.2: 37 more defective test parts"),
    ],
)
def test_a_ceiling_is_shown_to_be_met_or_the_missing_parts_are_counted(rate: float, of: int, said: str) -> None:
    rules = RULES.model_copy(update={"min_parts": MinParts(good=1, defective=1)})
    decision = decide(with_overall(escape_rate=rate, n_defective=of), None, None, rules)
    assert decision.promote
    assert any(reason.startswith(said) for reason in decision.reasons), decision.reasons
    strict = rules.model_copy(update={"without_evidence": "refuse"})
    assert decide(with_overall(escape_rate=rate, n_defective=of), None, None, strict).promote == (rate == 0)


def test_limits_of_calibration_latency_and_export_bind_where_they_were_measured() -> None:
    rules = RULES.model_copy(update={"max_calibration_error": 0.1, "max_latency_ms": 50})
    new = replace(contender("2"), calibration=(0.2, 0.08), latency_ms=80.0, score_difference=0.01)
    assert decide(new, None, None, rules, max_score_difference=0.001).reasons == (
        "calibration error 0.200 > 0.1, and chance explains only 0.080",
        "latency in ms 80 > 50",
        "score difference between file and network 0.01 > 0.001",
    )
    assert decide(
        replace(new, calibration=(0.2, 0.25), latency_ms=None, score_difference=None), None, None, rules
    ).promote


def test_the_decision_holds_the_numbers_of_both() -> None:
    assert set(decide(contender("2"), contender("1"), CLEAR, RULES).numbers["versions"]) == {"1", "2"}


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
    wasteful = Contender("2", Evaluation(replace(only_good.evaluation.overall, overkill_rate=0.3), {}))
    assert decide(wasteful, None, None, content).reasons[0].startswith("overkill rate 0.300 > 0.200")


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
    reasons = decide(new, old, CLEAR, RULES).reasons
    assert reasons[1] == (
        "on poly 4 more of 113 defective parts pass (8, was 4), 234 fewer of 274 good parts fail (25, was 259), "
        "cost per part 0.9 instead of 1.7"
    )
    same = decide(contender("2", poly=poly(4, 9)), contender("1", poly=poly(4, 9)), CLEAR, RULES).reasons[1]
    assert same == "on poly 4 of 113 defective parts pass, as before, 9 of 274 good parts fail, as before"


@pytest.mark.parametrize(("most", "waits"), [(None, False), (0.05, False), (0.03, True)])
def test_escapes_that_rise_by_more_than_the_policy_wait_for_a_person(most: float | None, waits: bool) -> None:
    rules = RULES.model_copy(update={"max_escape_rise": most})
    new, old = contender("2", poly=poly(8, 25)), contender("1", poly=poly(4, 259))
    decision = decide(new, old, CLEAR, rules)
    assert (decision.waits, decision.promote) == (waits, not waits)
    assert not waits or "escape rate on poly rises from 0.035 to 0.071" in decision.reasons[0]
    assert not waits or "defectloop promote 2 --accept-escapes" in decision.reasons[-1]
    accepted = decide(new, old, CLEAR, rules, "escapes accepted by quality lab: agreed")
    assert accepted.promote
    assert not waits or accepted.reasons[-1] == "escapes accepted by quality lab: agreed"


def test_a_version_that_misses_a_limit_is_refused_and_cannot_be_accepted() -> None:
    rules = RULES.model_copy(update={"max_escape_rise": 0.03})
    decision = decide(
        contender("2", poly=poly(8, 25)), contender("1", poly=poly(4, 259)), compared(paired()), rules, "accepted by x"
    )
    assert (decision.promote, decision.waits) == (False, False)
