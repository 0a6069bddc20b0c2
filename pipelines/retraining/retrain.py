"""Decides when to retrain. Every request is recorded, one runs at a time, and bursts of events do not queue up."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import Enum

from models.params import Retrain
from pipelines.ledger import campaigns, requests
from pipelines.ledger.events import CLOSED
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import RetrainingRequest, now


class Reason(Enum):
    DRIFT = "drift"
    LABELS = "labels"  # a campaign has ended: continue the request that opened it
    PERSON = "person"


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
    """Return the request for this trigger: an earlier one that is still open, a new one, or a declined one.

    The same event always leads to the same request. Cool-down and daily limit apply to events, not to people. A new request
    takes over the campaign of a failed one, so that its labels are used.
    """
    usable = campaigns.usable(ledger, line)

    def decision(earlier: list[RetrainingRequest]) -> RetrainingRequest:
        chosen = choose(earlier, rules, reason=reason, event_id=event_id, at=now())
        if isinstance(chosen, RetrainingRequest):
            return chosen
        return RetrainingRequest(
            line=line,
            trigger=trigger,
            event_id=event_id,
            state="declined" if chosen else "open",
            opened_at=now(),
            closed_at=now() if chosen else None,
            campaign_id=None if chosen else campaign_left_by(earlier, usable),
            flow_run_id=flow_run_id,
            outcome=chosen,
        )

    return requests.decide(ledger, line, decision, event_id)


def choose(
    earlier: Sequence[RetrainingRequest], rules: Retrain, *, reason: Reason, event_id: str | None, at: datetime
) -> RetrainingRequest | str:
    """Return an existing request, or the reason why a new one is declined ("" if it is accepted). Pure."""
    same = [item for item in earlier if event_id is not None and item.event_id == event_id]
    if same:
        return same[-1]
    unfinished = [item for item in earlier if item.state not in CLOSED]
    if unfinished:
        return unfinished[-1]
    if reason is Reason.LABELS:
        return "no request waits for these labels"
    if reason is Reason.PERSON:
        return ""
    worked = [item for item in earlier if item.state != "declined"]
    if worked and worked[-1].closed_at is not None:
        again = worked[-1].closed_at + timedelta(minutes=rules.cooldown_minutes)
        if at < again:
            return f"cool-down until {again:%Y-%m-%d %H:%M} UTC (retrain.cooldown_minutes)"
    today = [item for item in worked if item.opened_at > at - timedelta(days=1)]
    if len(today) >= rules.max_per_day:
        return f"{len(today)} retrainings in the last 24 hours (retrain.max_per_day)"
    return ""


def campaign_left_by(earlier: Sequence[RetrainingRequest], usable: Collection[int]) -> int | None:
    """Return the campaign of the latest request that ran, if that request failed and its campaign is usable. Pure."""
    worked = [item for item in earlier if item.state != "declined"]
    left = worked[-1].campaign_id if worked and worked[-1].state == "failed" else None
    return left if left in usable else None
