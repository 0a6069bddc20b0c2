"""Runs a version through the gate and changes the champion, or records why not. Also rollback.

A decision is recorded in the ledger before the registry changes, and marked as done afterwards. A decision that a killed
process left pending is completed by the next command (`pipelines.promotion.champions`). Decisions of a line are serialised,
and the change is refused if the champion has moved meanwhile. A version that was rolled back stays withdrawn until a person
lifts the withdrawal.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from models.detector.runtime import Detector
from models.errors import Busy, NotReady, Refused
from models.evaluation import evaluation
from models.metrics import class_mix, costs
from models.params import Params
from models.thresholds import calibration
from pipelines import line_defect_rate, lineage
from pipelines.adapters import model_registry
from pipelines.adapters.model_registry import ARTEFACT, CHAMPION, ModelVersion
from pipelines.ledger import promotions, withdrawals
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Promotion, Withdrawal, now
from pipelines.locks import decision_lock
from pipelines.promotion import champions, gate, paired, published, shadowed, slice_costs
from pipelines.promotion.gate import Contender, Decision
from pipelines.promotion.paired import Judged
from pipelines.training import kept_predictions
from pipelines.workspace import Workspace

LOCK_WAIT_S = 600.0  # wait for another decision; trainings hold a different lock
EXPECTED = "expected"  # key of the numbers of a decision, for `pipelines.promotion.watch`
TURNS = 4  # tries against other hosts, which decide in milliseconds


@dataclass(frozen=True)
class Person:
    """Who decides something that the gate leaves to a person, and why."""

    reviewer: str
    reason: str


@dataclass(frozen=True)
class _Asked:
    """What a call of `promote` adds to the rules: who accepted what is left to a person, and the slices to improve."""

    accepted: str | None
    triggered: tuple[str, ...]
    person: Person | None


def promote(
    workspace: Workspace,
    number: str,
    *,
    lift: Person | None = None,
    accept_escapes: Person | None = None,
    triggered_slices: Sequence[str] = (),
) -> Decision:
    """Run a version through the gate and carry out the decision. Repeated for the same versions, it gives the same decision.

    The version has to be better on `triggered_slices`, whose drift was the reason to train it; without any, on all parts.

    A withdrawn version is refused without being measured; with `lift` it goes through the gate like any other. A version
    whose escapes rise too much stays challenger and waits for a person, who accepts it with `accept_escapes`. Raises Refused
    if the champion changed meanwhile.
    """
    params = workspace.params()
    accepted = f"accepted by {accept_escapes.reviewer}: {accept_escapes.reason}" if accept_escapes else None
    asked = _Asked(accepted, tuple(sorted(triggered_slices)), accept_escapes)
    return _in_turn(lambda: _promote(workspace, params, number, asked, lift))


def _in_turn(decide: Callable[[], Decision]) -> Decision:
    """Decide again if another host has decided meanwhile, a few times. Raises Overtaken if others are always faster."""
    for _ in range(TURNS - 1):
        with contextlib.suppress(promotions.Overtaken):
            return decide()
    return decide()


def _promote(workspace: Workspace, params: Params, number: str, asked: _Asked, lift: Person | None) -> Decision:
    line = params.line
    for version in _to_measure(workspace, params, number, asked, lifted=lift is not None):
        kept_predictions.predictions(
            workspace, version
        )  # slow, so done before the lock: a rollback must not wait for it
    with decision_lock(workspace, line, LOCK_WAIT_S), Ledger.open(workspace.ledger_url) as ledger:
        champions.finish_pending(workspace, ledger, line)
        follows = promotions.newest(ledger, line)
        version = model_registry.version(workspace, line, number)
        if lift is not None:
            _lift(workspace, ledger, version, lift)
        withdrawal = withdrawals.of(ledger, line, number, version.tags[ARTEFACT])
        before = model_registry.alias(workspace, line, CHAMPION)
        rate = line_defect_rate.of_line(workspace).rate
        judged_under = f"withdrawal {withdrawal.id}" if withdrawal else _judged_under(workspace, params, rate, asked)
        earlier = promotions.last(ledger, line, version=number)
        if earlier is not None and earlier.state == "done" and _still_holds(earlier, before, judged_under):
            champions.carry_out(workspace, ledger, earlier)
            promoted, waits = earlier.kind in promotions.CHANGES, earlier.kind == promotions.WAIT
            return Decision(promoted, tuple(earlier.reasons), earlier.numbers, waits)
        decision = (
            _refusal(withdrawal, number)
            if withdrawal
            else _decide(workspace, params, version, before, rate, asked, promotions.all_of(ledger, line))
        )
        if params.promote.shadow_parts and before not in (None, number):
            beside = shadowed.read(ledger, line, str(before), number)
            decision = shadowed.first(decision, beside, params.promote.shadow_parts)
        record = promotions.add(
            ledger,
            Promotion(
                line=line,
                kind="promote" if decision.promote else promotions.WAIT if decision.waits else "refuse",
                version=number,
                champion_before=before,
                reasons=list(decision.reasons),
                numbers=decision.numbers | {"judged_under": judged_under, "defect_rate": rate} | _learned_from(version),
                state="pending",
                decided_at=now(),
                follows=follows,
            ),
        )
        if not champions.carry_out(workspace, ledger, record):
            raise Refused(
                f"The champion of line {line} moved from {before} to {model_registry.alias(workspace, line, CHAMPION)} "
                f"while version {number} was judged.",
                next_step=f"Compare it with the new champion: defectloop promote {number}",
            )
    published.publish(workspace, version, record)
    return decision


def rollback(
    workspace: Workspace, to: str | None = None, *, reason: str | None = None, reviewer: str | None = None
) -> Decision:
    """Make an earlier version champion again and withdraw the present one.

    The version is `to`, or the most recent earlier champion that is not withdrawn. Raises NotReady if there is none, and
    Refused if `to` is withdrawn. Thresholds and drift reference return with the version: the file contains the thresholds,
    and the reference is registered beside it.
    """
    left: list[str] = []  # by the tries of this call
    return _in_turn(lambda: _rollback(workspace, to, reason, reviewer, left))


def _rollback(
    workspace: Workspace, to: str | None, reason: str | None, reviewer: str | None, left: list[str]
) -> Decision:
    line = workspace.params().line
    with decision_lock(workspace, line, LOCK_WAIT_S), Ledger.open(workspace.ledger_url) as ledger:
        finished = champions.finish_pending(workspace, ledger, line)
        follows = promotions.newest(ledger, line)
        if finished and finished[-1].kind == "rollback" and to in (None, finished[-1].version):
            return Decision(True, tuple(finished[-1].reasons), {})  # this repeats a command that was killed
        champion = model_registry.champion(workspace, line)
        if champion is None:
            raise NotReady(f"Line {line} has no champion.", next_step="Train one: defectloop train")
        if left and champion.version not in left:  # another host changed it: to go back from there is another decision
            raise Refused(
                f"The champion of line {line} changed from {left[0]} to {champion.version} during the rollback.",
                next_step="Look at defectloop status, then decide again.",
            )
        left.append(champion.version)
        if to == champion.version:
            return Decision(True, (f"version {to} is the champion",), {})
        target = to or _not_withdrawn(workspace, ledger, line, champion.version)
        withdrawal = withdrawals.of(
            ledger, line, target, model_registry.version(workspace, line, target).tags[ARTEFACT]
        )
        if withdrawal is not None:
            raise Refused(
                f"Version {target} of line {line} is {champions.in_words(withdrawal)}.", next_step=_how_to_lift(target)
            )
        sentence = f"rolled back from version {champion.version} to {target}" + (f": {reason}" if reason else "")
        record = Promotion(
            line=line,
            kind="rollback",
            version=target,
            champion_before=champion.version,
            reasons=[sentence],
            numbers={},
            state="pending",
            decided_at=now(),
            follows=follows,
        )
        withdrawals.add(
            ledger,
            record,
            Withdrawal(
                line=line,
                version=champion.version,
                artefact_sha256=champion.tags[ARTEFACT],
                reason=reason or f"rolled back to version {target}",
                withdrawn_by=reviewer,
                withdrawn_at=record.decided_at,
            ),
        )
        champions.carry_out(workspace, ledger, record)
    return Decision(True, (sentence,), {})


def finish_interrupted(workspace: Workspace) -> list[Promotion]:
    """Complete promotions and rollbacks of killed processes. Does nothing while another decision is in progress."""
    line = workspace.params().line
    with Ledger.open(workspace.ledger_url) as ledger:
        if not promotions.pending(ledger, line):
            return []
        try:
            with decision_lock(workspace, line):
                return champions.finish_pending(workspace, ledger, line)
        except Busy:  # another process is carrying it out, or the next call will
            return []


def _to_measure(
    workspace: Workspace, params: Params, number: str, asked: _Asked, *, lifted: bool
) -> list[ModelVersion]:
    """Return the versions that the decision has to measure, or none if no measurement is needed."""
    line = params.line
    version = model_registry.version(workspace, line, number)
    champion = model_registry.champion(workspace, line)
    with Ledger.open(workspace.ledger_url) as ledger:
        if withdrawals.of(ledger, line, number, version.tags[ARTEFACT]) is not None and not lifted:
            return []
        last = promotions.last(ledger, line, version=number)
    judged_under = _judged_under(workspace, params, line_defect_rate.of_line(workspace).rate, asked)
    before = champion.version if champion else None
    if last is not None and last.state == "done" and _still_holds(last, before, judged_under):
        return []
    return [version] if champion is None or champion.version == number else [version, champion]


def _decide(
    workspace: Workspace,
    params: Params,
    version: ModelVersion,
    champion: str | None,
    rate: float | None,
    asked: _Asked,
    decisions: Sequence[Promotion],
) -> Decision:
    judged, challenger = _measured(workspace, params, version, rate)
    rival, compared = None, None
    sample = paired.sample_of(judged[0]["part"].to_pylist())
    if champion is not None and champion != version.version:
        rival_judged, rival = _measured(
            workspace, params, model_registry.version(workspace, params.line, champion), rate
        )
        look = 1 + paired.looks_before(decisions, version.version, champion, sample)
        compared = paired.compare(judged, rival_judged, params.cost, rate, champion, look)
    limit = params.export.max_score_difference
    decision = gate.decide(challenger, rival, compared, params.promote, asked.accepted, asked.triggered, limit)
    more: dict[str, Any] = {
        "test_parts": sample,
        "triggered_slices": [*asked.triggered],
        EXPECTED: _expected(params, judged, rate),
    }
    more["accepted_by"] = asdict(asked.person) if asked.person else None
    return replace(decision, numbers=decision.numbers | more)


def _expected(params: Params, judged: Judged, rate: float | None) -> dict[str, float] | None:
    """Return the largest shares of production parts that should fail and go to review; None if they are unknown."""
    truth, score = evaluation.of_parts(judged[0])
    share = float(truth.mean()) if rate is None else rate
    found = costs.expected(truth, score, judged[1], params.cost, share).intervals
    highest = {name: found[name].high for name in ("fail_rate", "review_rate")}
    return highest if np.isfinite([*highest.values()]).all() else None


def _measured(
    workspace: Workspace, params: Params, version: ModelVersion, rate: float | None
) -> tuple[Judged, Contender]:
    """Measure the version on the present test parts. Returns its answers with its operating point, and the contender."""
    answers = kept_predictions.predictions(workspace, version)
    metadata = Detector(model_registry.download(workspace, version)).metadata
    point = metadata.operating_point
    measured = json.loads(version.tags.get("measured", "{}"))
    contender = Contender(
        version.version,
        evaluation.summarise(answers, point, params.evaluate.bootstrap),
        robustness=_robustness(version),
        cost_per_part=slice_costs.by_slice(answers, point, params.cost, rate),
        twins=version.tags.get("twins", ""),
        calibration=_calibration(*evaluation.of_parts(answers), metadata.defect_rate, params.promote.confidence),
        latency_ms=measured.get("latency_ms"),
        score_difference=measured.get("max_score_difference"),
    )
    return (answers, point), contender


def _calibration(
    truth: np.ndarray, score: np.ndarray, rate: float | None, confidence: float
) -> tuple[float, float] | None:
    """Return the calibration error, and the largest that chance explains; None if good or defective parts are missing."""
    share = float(truth.mean())
    if not 0 < share < 1:
        return None
    error = calibration.expected_error(score, truth, weights=class_mix.weights(truth, rate))
    return error, calibration.error_by_chance(score, share, rate, confidence)


def _robustness(version: ModelVersion) -> dict[str, dict[str, float]]:
    """Return the robustness that was registered. Older versions have the tag `steadiness` with `turned` for flipped."""
    if "robustness" in version.tags:
        return json.loads(version.tags["robustness"])
    older = json.loads(version.tags.get("steadiness", "{}"))
    return {change: {"changed": shares["changed"], "flipped": shares["turned"]} for change, shares in older.items()}


def _still_holds(decision: Promotion, champion: str | None, judged_under: str) -> bool:
    """Return whether an earlier decision is still valid. A promotion is valid while its version is the champion; a refusal,
    while the champion, the rules, the test parts and the withdrawals are the same."""
    if decision.kind == promotions.WAIT and "shadow" in decision.numbers:
        return False  # more parts may have been shadowed
    if decision.kind not in promotions.CHANGES:
        return champion == decision.champion_before and decision.numbers.get("judged_under") == judged_under
    return champion == decision.version


def _judged_under(workspace: Workspace, params: Params, rate: float | None, asked: _Asked) -> str:
    """Return a hash of everything that a decision depends on. The defect rate is rounded to two digits, so that a small
    change of an estimate does not reopen a decision."""
    rules = params.model_dump_json(include={"promote", "cost", "evaluate"})
    text = f"{rules} {lineage.data_hash(workspace)}" + ("" if rate is None else f" {rate:.2g}")
    text += (asked.accepted or "") + "".join(f" {name}" for name in asked.triggered)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _learned_from(version: ModelVersion) -> dict[str, str]:
    """Return the version's data, to be stored with the decision: reading it from the registry takes seconds."""
    return {name: version.tags[name] for name in ("data_hash", "snapshot")}


def _refusal(withdrawal: Withdrawal, number: str) -> Decision:
    file_of = f"it has the same file as version {withdrawal.version}, " if withdrawal.version != number else ""
    return Decision(False, (f"{file_of}{champions.in_words(withdrawal)}. {_how_to_lift(number)}",), {"versions": {}})


def _how_to_lift(number: str) -> str:
    return f'Lift the withdrawal: defectloop promote {number} --lift-withdrawal --reviewer "…" --reason "…"'


def _lift(workspace: Workspace, ledger: Ledger, version: ModelVersion, lift: Person) -> None:
    withdrawals.lift(ledger, version.line, version.version, version.tags[ARTEFACT], lift.reviewer, lift.reason)
    for same in model_registry.versions(workspace, version.line):
        if champions.WITHDRAWN in same.tags and same.tags.get(ARTEFACT) == version.tags[ARTEFACT]:
            model_registry.drop_tag(workspace, same.line, same.version, champions.WITHDRAWN)


def _not_withdrawn(workspace: Workspace, ledger: Ledger, line: str, champion: str) -> str:
    """Return the most recent earlier champion that is not withdrawn."""
    for number in champions.earlier(promotions.all_of(ledger, line), champion):
        version = model_registry.version(workspace, line, number)
        if withdrawals.of(ledger, line, number, version.tags[ARTEFACT]) is None:
            return number
    raise NotReady(
        f"No earlier champion than version {champion} exists that is not withdrawn.",
        next_step="Choose a version: defectloop rollback --to VERSION",
    )
