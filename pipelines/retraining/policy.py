"""The policy of retraining: which trigger makes a new request, which joins an earlier one, and which is declined. Pure.

People are not bound by cool-down, limits and budgets. Everything else is, and a decline says when it would be possible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from models.params import Retrain
from models.vocabulary import Label
from pipelines.ledger.events import CLOSED
from pipelines.ledger.tables import RetrainingRequest

WEEK = timedelta(days=7)
DAY = timedelta(days=1)


class Reason(Enum):
    """What asks for a retraining."""

    DRIFT = "drift"
    PERFORMANCE = "performance"  # measured below its floor
    ENOUGH_LABELS = "enough labels"
    SCHEDULE = "schedule"
    LABELS = "labels"  # a campaign has ended, or a person approved: continue the request
    PERSON = "person"


@dataclass(frozen=True)
class Facts:
    """What the ledger knows about a line. `earlier` are its requests, oldest first; `new_labels` counts reviewed parts by
    label that no training has used; `asked` are times and sizes of the campaigns of the last seven days."""

    earlier: Sequence[RetrainingRequest]
    at: datetime
    new_labels: Mapping[str, int] = field(default_factory=dict)
    asked: Sequence[tuple[datetime, int]] = ()


@dataclass(frozen=True)
class Accept:
    """Make a new request."""


@dataclass(frozen=True)
class Join:
    """The trigger belongs to this request, which may be open or closed."""

    request: RetrainingRequest


@dataclass(frozen=True)
class Decline:
    """No retraining. `possible_at` is None if time alone does not change that."""

    why: str
    possible_at: datetime | None = None

    def in_words(self) -> str:
        return self.why + (f"; possible from {self.possible_at:%Y-%m-%d %H:%M} UTC" if self.possible_at else "")


def decide(
    facts: Facts, rules: Retrain, *, reason: Reason, event_id: str | None = None, shift: str | None = None
) -> Accept | Join | Decline:
    """Return what the trigger leads to.

    `shift` names the drift: the same shift, seen again within `retrain.same_shift_days`, belongs to the request that it made
    before, unless people have given new labels since.
    """
    same = [item for item in facts.earlier if event_id is not None and item.event_id == event_id]
    unfinished = [item for item in facts.earlier if item.state not in CLOSED]
    if same or unfinished:
        return Join((same or unfinished)[-1])
    if reason is Reason.LABELS:
        return Decline("no request waits for these labels")
    if reason is Reason.PERSON:
        return Accept()
    return _repeated(facts, rules, shift) or _limited(facts, rules, reason) or Accept()


def due(facts: Facts, rules: Retrain) -> Reason | None:
    """Return the trigger that holds without any event: enough new labels, or the schedule."""
    if sum(facts.new_labels.values()) >= rules.start_at_labels > 0:
        reason = Reason.ENOUGH_LABELS
    elif rules.every_days > 0 and _last_work(facts) + timedelta(days=rules.every_days) <= facts.at:
        reason = Reason.SCHEDULE
    else:
        return None
    return reason if isinstance(decide(facts, rules, reason=reason), Accept) else None


def too_few_labels(facts: Facts, rules: Retrain) -> str:
    """Return why the new labels are too few to train on, or ""."""
    few = [label for label in Label if facts.new_labels.get(label, 0) < rules.min_labels_per_class]
    if not few:
        return ""
    counted = ", ".join(f"{facts.new_labels.get(label, 0)} of class {label}" for label in few)
    return f"only {counted} are new; {rules.min_labels_per_class} are needed (retrain.min_labels_per_class)"


def labels_left(facts: Facts, rules: Retrain) -> int:
    """Return the number of labels that may still be asked for this week."""
    recent = sum(wanted for opened, wanted in facts.asked if opened > facts.at - WEEK)
    return max(0, rules.labels_per_week - recent)


def worked(earlier: Sequence[RetrainingRequest]) -> list[RetrainingRequest]:
    """Return the requests without those that were declined at once or never approved."""
    return [
        item
        for item in earlier
        if item.state != "cancelled" or item.campaign_id is not None or item.training_s or item.cancelled_by is not None
    ]


def _repeated(facts: Facts, rules: Retrain, shift: str | None) -> Join | None:
    alike = [item for item in worked(facts.earlier) if shift is not None and item.shift == shift]
    if not alike or alike[-1].state == "failed" or any(facts.new_labels.values()):
        return None
    ended = alike[-1].closed_at or alike[-1].opened_at
    return Join(alike[-1]) if facts.at < ended + timedelta(days=rules.same_shift_days) else None


def _limited(facts: Facts, rules: Retrain, reason: Reason) -> Decline | None:
    """Return the first of cool-down, daily limit and weekly budgets that forbids a new request."""
    at, done = facts.at, worked(facts.earlier)
    if done and done[-1].closed_at is not None:
        again = done[-1].closed_at + timedelta(minutes=rules.cooldown_minutes)
        if at < again:
            return Decline("cool-down (retrain.cooldown_minutes)", again)
    today = [item for item in done if item.opened_at > at - DAY]
    if len(today) >= rules.max_per_day:
        freed = today[-rules.max_per_day].opened_at + DAY
        return Decline(f"{len(today)} retrainings in the last 24 hours (retrain.max_per_day)", freed)
    used = [(item.closed_at or item.opened_at, item.training_s or 0.0) for item in done]
    hours = sum(seconds for ended, seconds in used if ended > at - WEEK) / 3600
    if hours >= rules.compute_hours_per_week:
        why = f"{hours:.1f} hours of training in seven days (retrain.compute_hours_per_week)"
        return Decline(why, _freed(used, at, rules.compute_hours_per_week * 3600))
    if reason is not Reason.ENOUGH_LABELS and labels_left(facts, rules) == 0:
        why = "the labels of seven days are used up (retrain.labels_per_week)"
        return Decline(why, _freed(facts.asked, at, rules.labels_per_week))
    return None


def _freed(used: Sequence[tuple[datetime, float]], at: datetime, budget: float) -> datetime:
    """Return when enough of what was used is older than a week, so that less than the budget is left."""
    recent = sorted((when, amount) for when, amount in used if when > at - WEEK)
    rest = sum(amount for _, amount in recent)
    for when, amount in recent:
        rest -= amount
        if rest < budget:
            return when + WEEK
    return at + WEEK


def _last_work(facts: Facts) -> datetime:
    """Return when the last request ended. A line that never had one is due from its first day on."""
    done = worked(facts.earlier)
    return max((item.closed_at or item.opened_at for item in done), default=facts.at - timedelta(days=3650))
