"""Decide whether a challenger becomes champion. Reads no files and calls no registry."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.evaluation.evaluation import Evaluation
from models.metrics.verdict_metrics import Metrics
from models.params import Promote
from pipelines.promotion import ceilings, changes, evidence
from pipelines.promotion.evidence import Comparison, Outcome

WAITS = "waits for a person"


@dataclass(frozen=True)
class Decision:
    """`reasons` are for people; `numbers` hold the evaluation of each version and their comparison. With `waits`, the
    version passed the gate, but a person has to accept it first."""

    promote: bool
    reasons: tuple[str, ...]
    numbers: dict[str, Any]
    waits: bool = False


@dataclass(frozen=True)
class Contender:
    """A version measured on the frozen test parts.

    robustness        for each change of light, position or file format, the shares of `changed` and `flipped` verdicts
    cost_per_part     average cost of the verdicts by slice, at the line's defect rate if it is known
    twins             how its test parts that look like training parts affect the metrics, in words; "" if not measured
    calibration       its calibration error on test parts, and the largest that chance explains; None: not measured
    latency_ms        of one image, measured at its evaluation (95th percentile); None: not measured
    score_difference  largest difference of scores between its file and the trained network; None: not measured
    """

    version: str
    evaluation: Evaluation
    robustness: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    cost_per_part: Mapping[str, float] = field(default_factory=dict)
    twins: str = ""
    calibration: tuple[float, float] | None = None
    latency_ms: float | None = None
    score_difference: float | None = None


def decide(
    challenger: Contender,
    champion: Contender | None,
    compared: Comparison | None,
    rules: Promote,
    accepted: str | None = None,
    triggered: Sequence[str] = (),
    max_score_difference: float = math.inf,
) -> Decision:
    """Check the absolute limits, then compare with the champion on the same parts.

    The verdicts have to cost less on the slices in `triggered`, or on all parts if there is none, and not more by a margin
    elsewhere. `compared` pairs both versions' costs part by part; None without a champion. A version that passes waits for a
    person if its escape rate rises by more than `max_escape_rise` in a slice, or if the policy `without_evidence` asks,
    unless `accepted` says who accepted this.
    """
    overall = challenger.evaluation.overall
    against = floors(overall, rules)
    against += not_robust(challenger.robustness, rules)
    against += beyond_limits(challenger, rules, max_score_difference)
    in_favour, shown, unknown = [_summary(overall)], *ceilings.proofs(overall, rules)
    findings = []
    if champion is not None and compared is not None:
        findings = evidence.weigh(compared, triggered, rules)
        against += [one.sentence for one in findings if one.outcome == Outcome.REFUTED]
        against += [one.sentence for one in findings if one.outcome == Outcome.OPEN and one.question == "better"]
        unknown += [one.sentence for one in findings if one.outcome == Outcome.OPEN and one.question != "better"]
        in_favour += changes.in_words(
            champion.evaluation, challenger.evaluation, champion.cost_per_part, challenger.cost_per_part
        )
        in_favour += [one.sentence for one in findings if one.outcome == Outcome.SHOWN]
    in_favour += shown
    if rules.without_evidence == "refuse":
        against += unknown
    else:
        in_favour += unknown
    if challenger.twins:
        in_favour.append(challenger.twins)  # information: twins decide nothing
    numbers = {
        "versions": {
            contender.version: contender.evaluation.to_dict() for contender in (champion, challenger) if contender
        },
        "findings": [one.to_dict() for one in findings],
        "look": compared.look if compared else None,
        "cost_per_part": {
            contender.version: dict(contender.cost_per_part) for contender in (champion, challenger) if contender
        },
        "twins": challenger.twins,
    }
    if against:
        return Decision(promote=False, reasons=tuple(against), numbers=numbers)
    risen = [f"{one} (promote.max_escape_rise)" for one in _risen(challenger, champion, rules)]
    if rules.without_evidence == "ask":
        risen += unknown
    if risen and accepted is None:
        asked = (
            f"{WAITS}: {'; '.join(risen)}",
            *(one for one in in_favour if one not in risen),
            _how_to_accept(challenger.version),
        )
        return Decision(promote=False, reasons=asked, numbers=numbers, waits=True)
    if risen:
        in_favour += [*(one for one in risen if one not in in_favour), str(accepted)]
    return Decision(promote=True, reasons=tuple(in_favour), numbers=numbers)


def _risen(challenger: Contender, champion: Contender | None, rules: Promote) -> list[str]:
    if champion is None or rules.max_escape_rise is None:
        return []
    return changes.risen_escapes(champion.evaluation, challenger.evaluation, rules.max_escape_rise)


def _how_to_accept(number: str) -> str:
    return f'to accept it: defectloop promote {number} --accept-escapes --reviewer "…" --reason "…"'


def floors(measured: Metrics, rules: Promote) -> list[str]:
    """Return which limits that every champion must meet are missed. An undefined metric misses its limit.

    If the test split has no defective or no good parts, the metrics that need them are skipped. `min_parts` then gives a
    reason that names the missing parts, unless it is 0 for them.
    """
    missed = too_few(measured, rules)
    defective, good = measured.n_defective > 0, measured.n_good > 0
    if defective and good and not measured.auroc >= rules.min_auroc:
        missed.append(f"AUROC {measured.auroc:.3f} < {rules.min_auroc:.3f}")
    return missed + ceilings.exceeded(measured, rules)


def too_few(measured: Metrics, rules: Promote) -> list[str]:
    """Return reasons for kinds of test parts, defective or good, of which there are too few for a decision."""
    needed = rules.min_parts
    kinds = (
        ("defective", measured.n_defective, needed.defective, "escape rate"),
        ("good", measured.n_good, needed.good, "overkill rate"),
    )
    reasons = []
    for kind, n, least, unknown in kinds:
        if n == 0 and least:
            reasons.append(
                f"the test split has no {kind} parts, so the {unknown} is unknown: {least} are needed "
                f"(set promote.min_parts.{kind} to 0 to promote without knowing it)"
            )
        elif n < least:
            reasons.append(f"only {n} {kind} test parts, {least} are needed (promote.min_parts)")
    return reasons if measured.n else reasons or ["the test split is empty"]


def not_robust(robustness: Mapping[str, Mapping[str, float]], rules: Promote) -> list[str]:
    """Return the changes of light, position or file format that change more verdicts than allowed."""
    limits = (("changed", "change", rules.max_changed_verdicts), ("flipped", "flip", rules.max_flipped_verdicts))
    return [
        f"{shares[kind]:.1%} of the verdicts {says} when images are {change}, more than {limit:.1%}"
        for change, shares in robustness.items()
        for kind, says, limit in limits
        if shares[kind] > limit
    ]


def beyond_limits(challenger: Contender, rules: Promote, max_score_difference: float) -> list[str]:
    """Return the limits of calibration, latency and agreement of the exported file that are exceeded. What was not measured,
    as in versions of older releases, exceeds none."""
    found = []
    if challenger.calibration is not None and rules.max_calibration_error is not None:
        error, by_chance = challenger.calibration
        if error > rules.max_calibration_error and error > by_chance:
            found.append(
                f"calibration error {error:.3f} > {rules.max_calibration_error:g}, and chance explains only {by_chance:.3f}"
            )
    for name, value, limit in (
        ("latency in ms", challenger.latency_ms, rules.max_latency_ms),
        ("score difference between file and network", challenger.score_difference, max_score_difference),
    ):
        if value is not None and limit is not None and value > limit:
            found.append(f"{name} {value:.3g} > {limit:g}")
    return found


def _summary(measured: Metrics) -> str:
    numbers = [
        f"{title} {value:.3f}"
        for title, value in (
            ("AUROC", measured.auroc),
            ("escape rate", measured.escape_rate),
            ("overkill rate", measured.overkill_rate),
        )
        if not math.isnan(value)
    ]
    missing = []
    if not (measured.n_defective and measured.n_good):
        missing.append("other metrics are unknown, because the test split has no defective or no good parts")
    return f"{', '.join(numbers)} on {measured.n} test parts" + "".join(f"; {text}" for text in missing)
