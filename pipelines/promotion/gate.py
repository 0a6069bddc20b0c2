"""Decide whether a challenger becomes champion. Reads no files and calls no registry."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.evaluation.evaluation import Evaluation
from models.metrics.verdict_metrics import Metrics
from models.params import Promote


@dataclass(frozen=True)
class Decision:
    """`reasons` are sentences; `numbers` hold each version's evaluation by version, and what compares them."""

    promote: bool
    reasons: tuple[str, ...]
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Contender:
    """A version measured on the frozen test parts.

    learned_slices    those its training split held
    on_the_line       the same with defective parts as common as the line has them; None: as common as in the data
    robustness        by change that leaves the part as it is, the shares of verdicts `changed` and `turned`
    """

    version: str
    evaluation: Evaluation
    learned_slices: Collection[str]
    robustness: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    on_the_line: Evaluation | None = None


def decide(
    challenger: Contender, champion: Contender | None, probability_cheaper: float | None, rules: Promote
) -> Decision:
    """Absolute floors first; then, against the champion on the same parts, cheaper verdicts and no slice lost.

    `probability_cheaper` is the paired bootstrap's share in which the challenger's verdicts cost less (escape, overkill
    and review as `cost` weighs them, at the line's defect rate), None without a champion.
    """
    against = floors(challenger.evaluation.overall, rules)
    against += not_robust(challenger.robustness, rules)
    praise = [_summary(challenger.evaluation.overall)]
    if champion is not None:
        against += lost_slices(challenger, champion, rules.max_f1_drop)
        probability = probability_cheaper if probability_cheaper is not None else 0.0
        argument = f"cheaper verdicts than version {champion.version} with probability {probability:.3f}"
        if probability < rules.min_probability_cheaper:
            against.append(f"{argument} < {rules.min_probability_cheaper:g}")
        praise.append(argument)
    numbers = {
        "versions": {
            contender.version: contender.evaluation.to_dict() for contender in (champion, challenger) if contender
        },
        "probability_cheaper": probability_cheaper,
    }
    return Decision(promote=not against, reasons=tuple(against or praise), numbers=numbers)


def floors(measured: Metrics, rules: Promote) -> list[str]:
    """What every champion must reach. An undefined number reaches nothing.

    Without a single test part of one kind, what would need it is judged only if `min_parts` asks for that kind: then the
    reason says what is missing, and not that a number is undefined.
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
    """Kinds of test parts of which there are too few to say anything about a version."""
    needed = rules.min_parts
    kinds = (
        ("defective", measured.n_defective, needed.defective, "what escapes"),
        ("good", measured.n_good, needed.good, "what is failed wrongly"),
    )
    reasons = []
    for kind, n, least, unknown in kinds:
        if n == 0 and least:
            reasons.append(
                f"the test split holds no {kind} part, so nobody knows {unknown}: {least} are needed; "
                f"promote.min_parts with {kind}: 0 promotes without knowing it"
            )
        elif n < least:
            reasons.append(f"only {n} {kind} test parts, {least} are needed (promote.min_parts)")
    return reasons if measured.n else reasons or ["the test split holds no part"]


def not_robust(robustness: Mapping[str, Mapping[str, float]], rules: Promote) -> list[str]:
    """Changes of light, place or file that change more verdicts than allowed."""
    limits = (("changed", "change", rules.max_changed_verdicts), ("flipped", "flip", rules.max_flipped_verdicts))
    return [
        f"{shares[kind]:.1%} of the verdicts {says} when images are {change}, more than {limit:.1%}"
        for change, shares in robustness.items()
        for kind, says, limit in limits
        if shares[kind] > limit
    ]


def lost_slices(challenger: Contender, champion: Contender, max_f1_drop: float) -> list[str]:
    """Slices the champion was trained on in which the challenger's F1 falls by more than `max_f1_drop`.

    At the line's defect rate where there is one: F1 in the dataset's mix favours thresholds that are wrong on the line.
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
    missing = [] if measured.n_defective and measured.n_good else ["one kind of part is absent, so the rest is unknown"]
    return f"{', '.join(numbers)} on {measured.n} test parts" + "".join(f"; {text}" for text in missing)
