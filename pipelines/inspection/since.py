"""What has changed on a line since an inspection: champion, thresholds, ground truth, drift."""

from __future__ import annotations

from pipelines.ledger import drift_checks, inspections, promotions, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection


def changes(ledger: Ledger, line: str, item: Inspection) -> list[str]:
    """Return one sentence for each kind of change, from the ledger alone. Empty: nothing has changed."""
    found = []
    decided = [
        one
        for one in promotions.all_of(ledger, line)
        if one.kind in promotions.CHANGES and one.state == "done" and one.decided_at > item.inspected_at
    ]
    if decided:
        last = decided[-1]
        how = "a rollback" if last.kind == "rollback" else "a promotion"
        found.append(f"champion: version {last.version}, by {how} on {last.decided_at:%Y-%m-%d %H:%M} UTC")
    [latest] = inspections.latest(ledger, line, 1)
    now, then = (latest.pass_below, latest.fail_from), (item.pass_below, item.fail_from)
    if None not in (*now, *then) and now != then:
        found.append(
            f"thresholds: pass below {now[0]:.3f}, fail from {now[1]:.3f} in the latest inspection, "
            f"by version {latest.model_version}"
        )
    later = [one for one in reviews.of_part(ledger, line, item.part) if one.reviewed_at > item.inspected_at]
    if later:
        answer = later[-1].label or "no label"
        found.append(f"ground truth: {answer}, by {later[-1].reviewer} on {later[-1].reviewed_at:%Y-%m-%d %H:%M} UTC")
    checks = [
        one
        for one in drift_checks.all_of(ledger, line)
        if one.judged and one.checked_at > item.inspected_at and one.model_version == item.model_version
    ]
    if checks:
        found.append(f"drift of version {item.model_version}: {checks[-1].explanation}")
    return found
