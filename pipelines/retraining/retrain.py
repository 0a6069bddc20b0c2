"""Applies the policy of retraining to the ledger: every trigger is recorded, and one request per line is worked on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from models.params import Retrain
from pipelines.ledger import campaigns, drift_checks, events, requests, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Event, RetrainingRequest, now
from pipelines.retraining import policy
from pipelines.retraining.policy import Decline, Facts, Join, Reason

DUE = {Reason.ENOUGH_LABELS: events.ENOUGH_LABELS, Reason.SCHEDULE: events.SCHEDULED}


def request(
    ledger: Ledger,
    line: str,
    rules: Retrain,
    *,
    reason: Reason,
    trigger: str,
    event_id: str | None,
    flow_run_id: str | None,
) -> RetrainingRequest:
    """Return the request for this trigger: an earlier one, a new one, or one that is cancelled at once with the reason.

    The same event always leads to the same request. A new request takes over the campaign of a failed one, so that its
    labels are used.
    """
    tidy(ledger, line, rules)
    usable = campaigns.usable(ledger, line)
    known = facts(ledger, line, ())
    shift = shift_of(ledger, event_id) if event_id is not None else None

    def decision(earlier: list[RetrainingRequest]) -> RetrainingRequest:
        present = Facts(earlier, now(), known.new_labels, known.asked)
        chosen = policy.decide(present, rules, reason=reason, event_id=event_id, shift=shift)
        if isinstance(chosen, Join):
            return chosen.request
        declined = chosen.in_words() if isinstance(chosen, Decline) else None
        return RetrainingRequest(
            line=line,
            trigger=trigger,
            event_id=event_id,
            state="cancelled" if declined else "requested",
            opened_at=now(),
            closed_at=now() if declined else None,
            campaign_id=None if declined else campaign_left_by(earlier, usable),
            flow_run_id=flow_run_id,
            outcome=declined or "",
            shift=shift,
            needs_approval=rules.needs_approval and reason is not Reason.PERSON and not declined,
        )

    return requests.decide(ledger, line, decision, event_id)


def announce_due(ledger: Ledger, line: str, rules: Retrain) -> Event | None:
    """Store the event of enough labels or of the schedule if one is due. Asked twice, it stores one event."""
    tidy(ledger, line, rules)
    present = facts(ledger, line, requests.all_of(ledger, line))
    reason = policy.due(present, rules)
    if reason is None:
        return None
    last = present.earlier[-1].id if present.earlier else 0
    return events.add_once(ledger, line, DUE[reason], f"{line}-{reason.value.replace(' ', '-')}-after-{last}")


def facts(ledger: Ledger, line: str, earlier: Sequence[RetrainingRequest]) -> Facts:
    """Return what the policy has to know about the line."""
    at = now()
    asked = campaigns.sizes_since(ledger, line, at - policy.WEEK)
    return Facts(earlier, at, reviews.unlearned_by_label(ledger, line), asked)


def tidy(ledger: Ledger, line: str, rules: Retrain) -> None:
    """Close requests that a person's decision has settled, or that nobody decided about in time. Called wherever requests
    are read, so no background process is needed."""
    requests.settle(ledger, line)
    oldest = now() - timedelta(days=rules.expires_days)
    requests.expire(ledger, line, oldest, f"expired: nobody decided within {rules.expires_days:g} days")


def shift_of(ledger: Ledger, event_id: str) -> str | None:
    """Return the name of the drift that the event tells of: champion and slice. None if it tells of none."""
    check = drift_checks.of_event(ledger, event_id)
    return None if check is None else f"version {check.model_version}, {check.slice or 'all slices'}"


def campaign_left_by(earlier: Sequence[RetrainingRequest], usable: Collection[int]) -> int | None:
    """Return the campaign of the latest request that ran, if that request failed and its campaign is usable. Pure."""
    done = policy.worked(earlier)
    left = done[-1].campaign_id if done and done[-1].state == "failed" else None
    return left if left in usable else None
