"""Decide whether a challenger becomes champion. Reads no files and calls no registry."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.evaluation.evaluation import Evaluation
from models.metrics.verdict_metrics import Metrics
from models.params import Promote
from pipelines.promotion import changes

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

    learned_slices    slices in its training split
    on_the_line       the evaluation at the line's defect rate; None: the data's defect rate is used
    robustness        for each change of light, position or file format, the shares of `changed` and `flipped` verdicts
    cost_per_part     average cost of the verdicts by slice, at the line's defect rate if it is known
    twins             how its test parts that look like training parts affect the metrics, in words; "" if not measured
    """

    version: str
    evaluation: Evaluation
    learned_slices: Collection[str]
    robustness: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    on_the_line: Evaluation | None = None
    cost_per_part: Mapping[str, float] = field(default_factory=dict)
    twins: str = ""


def decide(
    challenger: Contender,
    champion: Contender | None,
    probability_cheaper: float | None,
    rules: Promote,
    accepted: str | None = None,
) -> Decision:
    """Check the absolute limits, then compare with the champion on the same parts: lower costs, and no slice gets worse.

    A version that passes waits for a person if its escape rate rises by more than `max_escape_rise` in a slice, unless
    `accepted` says who accepted this.
    `probability_cheaper` is the share of paired bootstrap samples in which the challenger's verdicts cost less (escapes,
    overkill and reviews weighted by `cost`, at the line's defect rate); None without a champion.
    """
    against = floors(challenger.evaluation.overall, rules)
    against += not_robust(challenger.robustness, rules)
    in_favour = [_summary(challenger.evaluation.overall)]
    if champion is not None:
        against += lost_slices(challenger, champion, rules.max_f1_drop)
        probability = probability_cheaper if probability_cheaper is not None else 0.0
        argument = f"cheaper verdicts than version {champion.version} with probability {probability:.3f}"
        if probability < rules.min_probability_cheaper:
            against.append(f"{argument} < {rules.min_probability_cheaper:g}")
        in_favour += changes.in_words(
            champion.evaluation, challenger.evaluation, champion.cost_per_part, challenger.cost_per_part
        )
        in_favour.append(argument)
    if challenger.twins:
        in_favour.append(challenger.twins)  # information: twins decide nothing
    numbers = {
        "versions": {
            contender.version: contender.evaluation.to_dict() for contender in (champion, challenger) if contender
        },
        "probability_cheaper": probability_cheaper,
        "cost_per_part": {
            contender.version: dict(contender.cost_per_part) for contender in (champion, challenger) if contender
        },
        "twins": challenger.twins,
    }
    if against:
        return Decision(promote=False, reasons=tuple(against), numbers=numbers)
    risen = _risen(challenger, champion, rules)
    if risen and accepted is None:
        asked = (
            f"{WAITS}: {'; '.join(risen)} (promote.max_escape_rise)",
            *in_favour,
            _how_to_accept(challenger.version),
        )
        return Decision(promote=False, reasons=asked, numbers=numbers, waits=True)
    if risen:
        in_favour += [*risen, str(accepted)]
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
    if defective and not measured.escape_rate <= rules.max_escape_rate:
        missed.append(f"escape rate {measured.escape_rate:.3f} > {rules.max_escape_rate:.3f}")
    if good and not measured.overkill_rate <= rules.max_overkill_rate:
        missed.append(f"overkill rate {measured.overkill_rate:.3f} > {rules.max_overkill_rate:.3f}")
    return missed


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


def lost_slices(challenger: Contender, champion: Contender, max_f1_drop: float) -> list[str]:
    """Return the slices of the champion's training data in which the challenger's F1 is lower by more than `max_f1_drop`.

    F1 is taken at the line's defect rate if it is known, because F1 at the dataset's rate favours wrong thresholds.
    """
    old, new = (one.on_the_line or one.evaluation for one in (champion, challenger))
    lost = []
    for name in sorted(champion.learned_slices):
        before, after = old.slices.get(name), new.slices.get(name)
        if before is None or after is None or math.isnan(before.f1):
            continue
        if not after.f1 >= before.f1 - max_f1_drop:
            lost.append(f"F1 on {name} falls from {before.f1:.3f} to {after.f1:.3f}, more than {max_f1_drop:g}")
    return lost


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
