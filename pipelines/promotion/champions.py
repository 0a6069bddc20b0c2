"""Carries out recorded decisions in the registry, completes those of killed processes, and finds earlier champions.

The caller of every function that writes holds the line's decision lock.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.adapters import model_registry, tracking
from pipelines.adapters.model_registry import CHALLENGER, CHAMPION
from pipelines.ledger import promotions, withdrawals
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Promotion, Withdrawal
from pipelines.promotion.next_steps import IN_SHADOW
from pipelines.workspace import Workspace

WITHDRAWN = "withdrawn"  # tag of a registered version: when, by whom and why
LONGEST_TAG = 4000


def carry_out(workspace: Workspace, ledger: Ledger, decision: Promotion) -> bool:
    """Move the champion alias, tag the versions, and mark the decision as done. Repeating it changes nothing.

    Returns False and marks the decision as overtaken if the champion has changed since the decision was made. The registry
    cannot compare and swap, and another host may carry out the next decision meanwhile. So whoever sets the alias looks
    into the ledger afterwards, and sets it to the newest decision's version if that is another one.
    """
    line, number = decision.line, decision.version
    if decision.kind in promotions.CHANGES:
        present = model_registry.alias(workspace, line, CHAMPION)
        if present not in (decision.champion_before, number):
            promotions.close(ledger, decision, "overtaken")
            return decision.state == "done"  # by another process, which has gone on from there
        if present != number:
            model_registry.set_alias(workspace, line, CHAMPION, number)
            newest = promotions.newest_change(ledger, line)
            if newest is not None and newest.id > decision.id:
                model_registry.set_alias(workspace, line, CHAMPION, newest.version)
    verdict = {"refuse": "refused", promotions.WAIT: "waits for a person"}.get(decision.kind, "promoted")
    reasons = "; ".join(decision.reasons)[:LONGEST_TAG]
    if decision.kind == promotions.WAIT and reasons.startswith(IN_SHADOW):
        verdict = IN_SHADOW
    decided = {"gate": verdict, "gate_reasons": reasons}
    model_registry.set_tags(workspace, line, number, decided)
    tracking.record(
        workspace, model_registry.version(workspace, line, number).mlflow_run_id, decided | {"version": number}
    )
    withdrawal = withdrawals.of_rollback(ledger, decision.id)
    if withdrawal is not None:
        model_registry.set_tags(workspace, line, withdrawal.version, {WITHDRAWN: in_words(withdrawal)[:LONGEST_TAG]})
    if decision.kind != promotions.WAIT and model_registry.alias(workspace, line, CHALLENGER) == number:
        model_registry.drop_alias(workspace, line, CHALLENGER)
    if decision.state == "pending":
        promotions.close(ledger, decision, "done")
    return True


def finish_pending(workspace: Workspace, ledger: Ledger, line: str) -> list[Promotion]:
    """Carry out the decisions that killed processes left pending. Returns them, oldest first."""
    left = promotions.pending(ledger, line)
    if not left:
        return []
    registered = {version.version for version in model_registry.versions(workspace, line)}
    decisions = promotions.all_of(ledger, line)
    for decision in left:
        if decision.version not in registered or _is_overtaken(decision, decisions):
            promotions.close(ledger, decision, "overtaken")
        else:
            carry_out(workspace, ledger, decision)
    return left


def earlier(decisions: Sequence[Promotion], champion: str) -> list[str]:
    """Return the champions before the present one, the most recent first. `decisions` are the line's, oldest first.

    A rollback removes the version that it left, so that repeated rollbacks go further back instead of alternating.
    """
    line_of_succession: list[str] = []
    for decision in decisions:
        if decision.kind not in promotions.CHANGES or decision.state != "done":
            continue
        _continue_with(line_of_succession, decision.champion_before)  # differs if the alias was set by hand
        if decision.kind == "rollback":
            line_of_succession = _back_to(line_of_succession, decision.version)
        _continue_with(line_of_succession, decision.version)
    _continue_with(line_of_succession, champion)
    return [version for version in dict.fromkeys(reversed(line_of_succession)) if version != champion]


def in_words(withdrawal: Withdrawal) -> str:
    """Describe when, by whom and why a version was withdrawn."""
    by = f" by {withdrawal.withdrawn_by}" if withdrawal.withdrawn_by else ""
    return f"withdrawn {withdrawal.withdrawn_at:%Y-%m-%d %H:%M} UTC{by}: {withdrawal.reason}"


def _is_overtaken(decision: Promotion, decisions: Sequence[Promotion]) -> bool:
    """Return whether a later completed decision changed the champion or concerned the same version."""
    return any(
        later.id > decision.id
        and later.state == "done"
        and (later.kind in promotions.CHANGES or later.version == decision.version)
        for later in decisions
    )


def _continue_with(line_of_succession: list[str], version: str | None) -> None:
    if version is not None and (not line_of_succession or line_of_succession[-1] != version):
        line_of_succession.append(version)


def _back_to(line_of_succession: list[str], version: str) -> list[str]:
    behind = line_of_succession[:-1]
    while behind and version in behind and behind[-1] != version:
        behind.pop()
    return behind
