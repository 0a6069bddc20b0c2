"""A version that passed the gate first judges production parts in the champion's shadow, if the policy asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from models.vocabulary import Verdict
from pipelines.amounts import counted
from pipelines.ledger import shadows
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.part_verdicts import SEVERITY
from pipelines.promotion.gate import Decision
from pipelines.promotion.next_steps import IN_SHADOW

NAMED = 20  # disputed parts that a decision names


@dataclass(frozen=True)
class Shadowed:
    """The verdicts (champion's, challenger's) by part: parts that a version judged in the champion's shadow."""

    verdicts: Mapping[str, tuple[Verdict, Verdict]]

    @property
    def disputed(self) -> list[str]:
        """The parts with different verdicts; those that one version passes and the other fails first."""
        distance = {part: abs(SEVERITY[one] - SEVERITY[other]) for part, (one, other) in self.verdicts.items()}
        return sorted((part for part in distance if distance[part]), key=lambda part: (-distance[part], part))

    def __str__(self) -> str:
        n, disputed = len(self.verdicts), self.disputed
        names = f": {', '.join(disputed[:NAMED])}{' …' if len(disputed) > NAMED else ''}" if disputed else ""
        same = f"same verdict as the champion on {n - len(disputed)} of {n} production parts"
        return f"{same}, {len(disputed)} disputed{names}"


def read(ledger: Ledger, line: str, champion: str, challenger: str) -> Shadowed:
    """Return what the challenger judged beside this champion. The worst verdict on any image of a part is the part's."""
    verdicts: dict[str, tuple[Verdict, Verdict]] = {}
    for part, answered, beside in shadows.pairs(ledger, line, champion, challenger):
        before = verdicts.get(part, (Verdict.PASS, Verdict.PASS))
        worst = [
            max(pair, key=lambda one: SEVERITY[one])
            for pair in zip(before, (Verdict(answered), Verdict(beside)), strict=True)
        ]
        verdicts[part] = worst[0], worst[1]
    return Shadowed(verdicts)


def first(decision: Decision, shadowed: Shadowed, wanted: int) -> Decision:
    """Return a promotion as it is, with the agreement, or as waiting if fewer than `wanted` parts were shadowed. Pure."""
    seen: dict[str, Any] = {"shadow": {"parts": len(shadowed.verdicts), "disputed": shadowed.disputed[:NAMED]}}
    numbers = decision.numbers | seen
    if not decision.promote:
        return decision
    missing = wanted - len(shadowed.verdicts)
    if missing <= 0:
        return replace(decision, reasons=(*decision.reasons, str(shadowed)), numbers=numbers)
    asked = (
        f"{IN_SHADOW} for {counted(missing, 'more production part')} (promote.shadow_parts: {wanted}; the service needs "
        "serve.shadow: true)"
    )
    return Decision(False, (asked, *decision.reasons), numbers, waits=True)
