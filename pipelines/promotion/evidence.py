"""What the frozen test parts show about a challenger: better, not worse, worse, or not enough evidence. Pure.

A comparison has three outcomes: shown; not shown, although an equal challenger would have been; and not enough parts.
Why these tests, what they promise and what they do not: docs/decisions/0028-gate-by-evidence.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from models.metrics import paired_costs
from models.metrics.paired_costs import Paired
from models.params import Promote

ALL = "all test parts"


class Outcome(StrEnum):
    SHOWN = "shown"
    REFUTED = "not shown"
    OPEN = "not enough evidence"


@dataclass(frozen=True)
class Finding:
    """The outcome of one question. `group` names the parts; `difference` is the mean cost difference per part (negative:
    cheaper) and `at_most` its upper bound; `more` is how many more parts would suffice, if that is known."""

    group: str
    question: str
    outcome: Outcome
    difference: float
    at_most: float
    n: int
    sentence: str
    more: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: an unknown number becomes None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Comparison:
    """Both versions on the same test parts. `slices` and `types` (defective parts with that type) are subsets of `whole`;
    `look` is how often a challenger of this champion has been judged on these parts, from 1."""

    champion: str
    whole: Paired
    slices: Mapping[str, Paired]
    types: Mapping[str, Paired]
    look: int = 1


def level(rules: Promote, look: int) -> float:
    """Return the level of significance of look number `look`: α / (k (k + 1)), which sums to α over any number of looks.

    α is 1 - `promote.min_probability_cheaper`. Every look pays, so that the probability of ever promoting an equal
    challenger on the same test parts stays below α, however often one is tried (Bonferroni with unequal shares).
    """
    return (1 - rules.min_probability_cheaper) / (look * (look + 1))


def weigh(compared: Comparison, triggered: Sequence[str], rules: Promote) -> list[Finding]:
    """Answer every question that the gate asks.

    Better: on each slice in `triggered`, or on all parts if there is none. Not worse: on all other slices, on the defective
    parts of each type, and on all parts.
    """
    chosen = sorted(set(triggered))
    found = [better(f"slice {name}", compared.slices.get(name), compared, rules) for name in chosen]
    groups: dict[str, Paired] = {}
    if chosen:
        groups[ALL] = compared.whole
    else:
        found.append(better(ALL, compared.whole, compared, rules))
    if len(compared.slices) > 1 or (chosen and chosen != [*compared.slices]):
        groups |= {f"slice {name}": one for name, one in sorted(compared.slices.items()) if name not in chosen}
    if len(compared.types) > 1:
        groups |= {f"defect type {name}": one for name, one in sorted(compared.types.items())}
    return found + [not_worse(name, one, len(groups), rules) for name, one in groups.items()]


def better(group: str, paired: Paired | None, compared: Comparison, rules: Promote) -> Finding:
    """Ask whether the challenger's verdicts cost less than the champion's, at the level of this look."""
    question = f"cheaper verdicts than version {compared.champion}"
    where = "" if group == ALL else f" on {group}"
    if paired is None or not paired.n:
        return Finding(
            group,
            "better",
            Outcome.OPEN,
            math.nan,
            math.nan,
            0,
            f"not enough evidence: there are no test parts of {group}",
        )
    at_most = paired_costs.at_most(paired, rules.confidence)
    if rules.min_probability_cheaper == 0:
        sentence = f"{question}{where} are not asked for (promote.min_probability_cheaper: 0)"
        return Finding(group, "better", Outcome.SHOWN, paired.value, at_most, paired.n, sentence)
    allowed, chance = level(rules, compared.look), paired_costs.chance_if_equal(paired)
    measured = f"{question}{where} by {-paired.value:.3g} per part, with probability {1 - chance:.4f}"
    looks = f", look {compared.look} at these test parts" if compared.look > 1 else ""
    if chance <= allowed:
        sentence = f"{measured} (≥ {1 - allowed:.4f}{looks})"
        return Finding(group, "better", Outcome.SHOWN, paired.value, at_most, paired.n, sentence)
    needed = paired_costs.parts_for_cheaper(paired, allowed)
    if needed is None:
        found = f"{paired.value:+.3g} per part, probability {1 - chance:.4f} < {1 - allowed:.4f}"
        sentence = f"no {question}{where}: {found}{looks}"
        return Finding(group, "better", Outcome.REFUTED, paired.value, at_most, paired.n, sentence)
    more = max(needed - paired.n, 1)
    sentence = (
        f"not enough evidence for {measured} < {1 - allowed:.4f}{looks}: some {_rounded(more)} more test parts"
        f"{where.replace(' on ', ' of ')} would show a saving of that size"
    )
    return Finding(group, "better", Outcome.OPEN, paired.value, at_most, paired.n, sentence, more)


def not_worse(group: str, paired: Paired, questions: int, rules: Promote) -> Finding:
    """Ask whether the challenger is at most the margin dearer. `questions` is how many groups are asked about.

    Refuted if it is dearer than an equal one would be by chance (Bonferroni over the groups), or if an equal challenger
    would have been shown not to be worse, on as many parts, with the confidence asked for.
    """
    margin = margin_of(paired, rules.max_cost_rise)
    at_most = paired_costs.at_most(paired, rules.confidence)
    change = f"cost on {group} {'rises' if paired.value > 0 else 'falls' if paired.value < 0 else 'is equal'}"
    change += f" by {abs(paired.value):.3g} per part" if paired.value else ""
    bound = (
        f"a rise of at most {at_most:.3g} is shown" if at_most > 0 else f"a fall of at least {-at_most:.3g} is shown"
    )
    allowed = f"the margin is {margin:.3g} (promote.max_cost_rise)"
    if at_most <= margin:
        sentence = f"{change}; {bound}, {allowed}"
        return Finding(group, "not worse", Outcome.SHOWN, paired.value, at_most, paired.n, sentence)
    chance = paired_costs.chance_if_equal(paired_costs.reversed_(paired))
    if chance <= (1 - rules.confidence) / questions:
        sentence = f"{change}, with probability {1 - chance:.4f}; {allowed}"
        return Finding(group, "not worse", Outcome.REFUTED, paired.value, at_most, paired.n, sentence)
    needed = paired_costs.parts_for_not_worse(paired, margin, rules.confidence)
    if needed <= paired.n and paired.value > 0:
        sentence = f"{change}, which {paired.n} parts do not show to be less than the margin of {margin:.3g} ({bound})"
        return Finding(group, "not worse", Outcome.REFUTED, paired.value, at_most, paired.n, sentence)
    more = max(needed - paired.n, 1)
    parts = "defective test parts" if not len(paired.good) else "test parts"
    missing = f"some {_rounded(more)} more {parts}" + ("" if group == ALL else " of it")
    sentence = f"not enough evidence that {group} is not worse: {missing} ({change}; {bound}, {allowed})"
    return Finding(group, "not worse", Outcome.OPEN, paired.value, at_most, paired.n, sentence, more)


def margin_of(paired: Paired, rise: float) -> float:
    """Return what a rise of the escape rate by `rise` costs per part, or of the overkill rate if no part is defective."""
    return rise * (paired.rate * paired.escape if len(paired.defective) else paired.wrong_good)


def _rounded(n: int) -> str:
    """Format two digits: the number is an estimate."""
    return f"{float(f'{n:.2g}'):,.0f}"
