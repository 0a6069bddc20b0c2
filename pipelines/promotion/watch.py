"""Watches a new champion's first parts in production: does it judge as its evaluation promised?

The tests are sequential, so the watch may run as often as the monitoring does. A bad finding rolls back only if
`promote.roll_back_on` names it; otherwise it is reported. A version that waits in the champion's shadow is promoted when it
has judged enough parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.errors import NotReady
from models.metrics.sequential import evidence_above
from models.params import Promote
from models.vocabulary import Label, Verdict
from pipelines.adapters import model_registry
from pipelines.adapters.model_registry import ARTEFACT
from pipelines.ledger import inspections, part_verdicts, promotions, random_reviews
from pipelines.ledger.ledger import Ledger
from pipelines.line_defect_rate import BLIND
from pipelines.promotion import promote, shadowed
from pipelines.promotion.gate import Decision
from pipelines.promotion.next_steps import IN_SHADOW
from pipelines.workspace import Workspace

WATCH = "the watch after the promotion"
FALSE_ALARM = 0.01  # probability that a champion that keeps its promise is ever reported, over all four questions


@dataclass(frozen=True)
class Question:
    """How many of `n` parts are `hits`, and the share that the evaluation promised at most."""

    name: str  # as in `promote.roll_back_on`
    hits: int
    n: int
    promised: float

    def __str__(self) -> str:
        what = {
            "fails": "parts fail",
            "reviews": "parts go to review",
            "escapes": "reviewed defective parts passed",
            "overkill": "reviewed good parts failed",
        }[self.name]
        return f"{self.hits} of {self.n} {what}, where at most {self.promised:.1%} were expected"


@dataclass(frozen=True)
class Watched:
    """`bad` are the questions whose answer is worse than promised; `rolled_back_to` is the version that returned, if any."""

    version: str
    parts: int
    wanted: int
    bad: tuple[Question, ...]
    rolled_back_to: str | None = None

    def __str__(self) -> str:
        watched = f"watch of version {self.version}: {self.parts} of {self.wanted} parts"
        found = "; ".join(map(str, self.bad)) or "as its evaluation promised"
        after = f". Rolled back to version {self.rolled_back_to}" if self.rolled_back_to else ""
        return f"{watched}: {found}{after}"


def watch(workspace: Workspace) -> Watched | None:
    """Compare the champion's first `promote.watch_parts` parts with its evaluation, and roll back if the policy says so.

    Returns None if nothing is watched: no champion, a champion that returned by a rollback or was promoted by an older
    release, or a promotion whose window is over.
    """
    params = workspace.params()
    line, rules = params.line, params.promote
    champion = model_registry.champion(workspace, line)
    if champion is None or not rules.watch_parts:
        return None
    with Ledger.open(workspace.ledger_url) as ledger:
        decision = promotions.newest_change(ledger, line)
        if decision is None or (decision.kind, decision.version) != ("promote", champion.version):
            return None
        expected = decision.numbers.get(promote.EXPECTED)
        if decision.champion_before is None or expected is None:  # no version to return to, or nothing to compare with
            return None
        window = inspections.of_first_parts(
            ledger, line, rules.watch_parts, artefact_sha256=champion.tags[ARTEFACT], since=decision.decided_at
        )
        verdicts = {one.part: one.verdict for one in part_verdicts.by_part(window)}
        labels = random_reviews.by_part(ledger, line, BLIND)
    bad = failed(questions(verdicts, labels, expected, rules))
    found = Watched(champion.version, len(verdicts), rules.watch_parts, bad)
    reasons = [one for one in bad if one.name in rules.roll_back_on]
    if not reasons:
        return found
    try:
        promote.rollback(workspace, reason="; ".join(map(str, reasons)), reviewer=WATCH)
    except NotReady:  # every earlier version is withdrawn: people have to decide
        return found
    back = model_registry.alias(workspace, line, model_registry.CHAMPION)
    return Watched(champion.version, len(verdicts), rules.watch_parts, bad, back)


def after_shadow(workspace: Workspace) -> Decision | None:
    """Run the version that waits in the champion's shadow through the gate again, once it has judged enough parts."""
    params = workspace.params()
    with Ledger.open(workspace.ledger_url) as ledger:
        last = promotions.last(ledger, params.line)
        if last is None or last.kind != promotions.WAIT or not last.reasons[0].startswith(IN_SHADOW):
            return None
        seen = shadowed.read(ledger, params.line, last.champion_before or "", last.version)
    if len(seen.verdicts) < params.promote.shadow_parts:
        return None
    by = last.numbers["accepted_by"]
    return promote.promote(
        workspace,
        last.version,
        accept_escapes=promote.Person(**by) if by else None,
        triggered_slices=last.numbers["triggered_slices"],
    )


def questions(
    verdicts: Mapping[str, Verdict], labels: Mapping[str, str], expected: Mapping[str, float], rules: Promote
) -> list[Question]:
    """Return the questions that the verdicts by part, and the labels of randomly chosen parts, can answer. Pure.

    `expected` holds the upper bounds of the shares of parts that fail and that go to review.
    """
    shares = [
        Question(name, sum(one == verdict for one in verdicts.values()), len(verdicts), expected[rate])
        for name, verdict, rate in (("fails", Verdict.FAIL, "fail_rate"), ("reviews", Verdict.REVIEW, "review_rate"))
    ]
    for name, label, wrong, limit in (
        ("escapes", Label.DEFECT, Verdict.PASS, rules.max_escape_rate),
        ("overkill", Label.GOOD, Verdict.FAIL, rules.max_overkill_rate),
    ):
        reviewed = [verdicts[part] for part, said in labels.items() if said == label and part in verdicts]
        shares.append(Question(name, sum(one == wrong for one in reviewed), len(reviewed), limit))
    return shares


def failed(asked: Sequence[Question]) -> tuple[Question, ...]:
    """Return the questions whose share is above what was promised (e-value, Bonferroni over the questions)."""
    return tuple(one for one in asked if evidence_above(one.hits, one.n, one.promised) >= len(asked) / FALSE_ALARM)
