"""Carry a recorded decision out in the registry, finish one whose process was killed, and know who was champion before.

Every function that writes needs the line's decision lock.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.adapters import model_registry
from pipelines.adapters.model_registry import CHALLENGER, CHAMPION
from pipelines.ledger import promotions, withdrawals
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Promotion, Withdrawal
from pipelines.workspace import Workspace

WITHDRAWN = "withdrawn"  # tag of a registered version: when, by whom and why
LONGEST_TAG = 4000


def carry_out(workspace: Workspace, ledger: Ledger, decision: Promotion) -> bool:
    """Move the champion alias, tag the versions, mark the decision done. What is there already stays as it is.

    False, and the decision marked overtaken, where the champion is neither the one it was made against nor its own.
    """
    line, number = decision.line, decision.version
    if decision.kind != "refuse":
        present = model_registry.alias(workspace, line, CHAMPION)
        if present not in (decision.champion_before, number):
            promotions.close(ledger, decision, "overtaken")
            return False
        if present != number:
            model_registry.set_alias(workspace, line, CHAMPION, number)
    verdict = "refused" if decision.kind == "refuse" else "promoted"
    reasons = "; ".join(decision.reasons)[:LONGEST_TAG]
    model_registry.set_tags(workspace, line, number, {"gate": verdict, "gate_reasons": reasons})
    withdrawal = withdrawals.of_rollback(ledger, decision.id)
    if withdrawal is not None:
        model_registry.set_tags(workspace, line, withdrawal.version, {WITHDRAWN: in_words(withdrawal)[:LONGEST_TAG]})
    if model_registry.alias(workspace, line, CHALLENGER) == number:
        model_registry.drop_alias(workspace, line, CHALLENGER)
    if decision.state == "pending":
        promotions.close(ledger, decision, "done")
    return True


def finish_pending(workspace: Workspace, ledger: Ledger, line: str) -> list[Promotion]:
    """Carry out what killed processes decided, whichever version that is about; returns those decisions, oldest first."""
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
    """The champions that stand behind the present one, the nearest first; `decisions` are the line's, oldest first.

    A rollback takes away what it went back from, so that the next one goes further back and not to and fro.
    """
    line_of_succession: list[str] = []
    for decision in decisions:
        if decision.kind == "refuse" or decision.state != "done":
            continue
        _continue_with(line_of_succession, decision.champion_before)  # another one where somebody set the alias by hand
        if decision.kind == "rollback":
            line_of_succession = _back_to(line_of_succession, decision.version)
        _continue_with(line_of_succession, decision.version)
    _continue_with(line_of_succession, champion)
    return [version for version in dict.fromkeys(reversed(line_of_succession)) if version != champion]


def in_words(withdrawal: Withdrawal) -> str:
    """When, by whom and why a version was withdrawn."""
    by = f" by {withdrawal.withdrawn_by}" if withdrawal.withdrawn_by else ""
    return f"withdrawn {withdrawal.withdrawn_at:%Y-%m-%d %H:%M} UTC{by}: {withdrawal.reason}"


def _is_overtaken(decision: Promotion, decisions: Sequence[Promotion]) -> bool:
    """Whether a later decision, carried out, changed the champion or was about the same version."""
    return any(
        later.id > decision.id
        and later.state == "done"
        and (later.kind != "refuse" or later.version == decision.version)
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
