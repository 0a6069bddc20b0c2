"""The state of a line as text for a terminal. Pure."""

from __future__ import annotations

import textwrap

from pipelines.amounts import counted, image_count
from pipelines.inspection.status import OpenCampaign, Status
from pipelines.ledger import requests
from pipelines.ledger.tables import RetrainingRequest
from pipelines.promotion import champions, next_steps

MARGIN = 12  # columns before the text of a row


def render(now: Status, width: int | None = None) -> str:
    """Return one row per subject, wrapped at `width` columns if it is given. For everything missing, the command that
    creates it is named."""
    counts = ", ".join(f"{n} {verdict}" for verdict, n in now.inspected_parts.items())
    champion, asked = now.champion, now.last_request
    rows = {
        "line": now.line,
        "data": _data(now),
        "snapshot": _snapshot(now),
        "champion": f"version {champion.version} of {now.versions}, from {champion.snapshot}"
        if champion
        else _no_champion(now),
        "inspected": f"{counted(sum(now.inspected_parts.values()), 'part')}: {counts}"
        if counts
        else "none: defectloop replay FOLDER",
        "drift": _drift(now),
        "retraining": _retraining(asked, labels_wait=_asks_people(asked, now.campaigns))
        if asked
        else "never requested",
        "review": _review(now),
    }
    if challenger := _challenger(now):
        rows["challenger"] = challenger
    if now.refusal:
        rows["waits" if now.refusal.waits else "refused"] = _refused(now)
    if now.branches:
        rows["to merge"] = _branches(now)
    if now.pending_promotions:
        decided = ", ".join(now.pending_promotions)
        rows["decision"] = f"{decided} is pending: the next promote, rollback or monitor completes it"
    if now.withdrawn:
        rows["withdrawn"] = "; ".join(f"version {item.version}, {champions.in_words(item)}" for item in now.withdrawn)
    return "\n".join(_row(name, text, width) for name, text in rows.items())


def _row(name: str, text: str, width: int | None) -> str:
    row = f"{name:<{MARGIN - 1}} {text}"
    if width is None:
        return row
    return textwrap.fill(
        row, max(width, 40), subsequent_indent=" " * MARGIN, break_long_words=False, break_on_hyphens=False
    )


def _data(now: Status) -> str:
    text = image_count(now.images, now.synthetic)
    return text + (f", {now.quarantined} in quarantine" if now.quarantined else "")


def _snapshot(now: Status) -> str:
    if now.snapshot is None:
        return "none: defectloop snapshot"
    text = f"{now.snapshot.tag}, {now.snapshot.data_hash}"
    if now.newest_snapshot not in (None, now.snapshot.tag):
        text += f"; the newest is {now.newest_snapshot}"
    if not now.unsaved:
        return text
    parts = [
        counted(n, "image") + f" {what}"
        for n, what in (
            (now.unsaved.added, "added"),
            (now.unsaved.removed, "removed"),
            (now.unsaved.changed, "changed"),
        )
        if n
    ]
    return f"{text}; since then {', '.join(parts)}: defectloop validate && defectloop snapshot"


def _no_champion(now: Status) -> str:
    return "none: the last version was refused, see below" if now.refusal else "none: defectloop train"


def _challenger(now: Status) -> str | None:
    """Describe what the challenger did in production, or None if it did nothing."""
    if now.challenger is None:
        return None
    did = [str(agreement) for agreement in now.challenger.agreements]
    if now.challenger.answered_parts:
        did.append(f"it inspected {counted(now.challenger.answered_parts, 'part')}")
    return f"version {now.challenger.version}: {'; '.join(did)}" if did else None


def _drift(now: Status) -> str:
    if now.champion is None:
        return "checked when there is a champion"
    if now.drift is None:
        return f"version {now.champion.version} was never checked: defectloop monitor"
    return f"{now.drift.explanation} (version {now.drift.model_version}, {now.drift.checked_at:%Y-%m-%d %H:%M} UTC)"


def _refused(now: Status) -> str:
    assert now.refusal is not None
    version = now.refusal.version
    reasons = f"version {version} ({now.refusal.decided_at:%Y-%m-%d %H:%M} UTC): {'; '.join(now.refusal.reasons)}"
    if now.refusal.waits:  # the reasons end with the command that accepts it
        return reasons
    return (
        f"{reasons}. Next: {'; '.join(next_steps.after(now.refusal.reasons))}. "
        f"What it answers anyway: defectloop inspect --version {version} IMAGE"
    )


def _branches(now: Status) -> str:
    names = ", ".join(f"{one.name} ({counted(one.commits, 'commit')})" for one in now.branches)
    return f"{names}: defectloop snapshots merge"


def _retraining(asked: RetrainingRequest, *, labels_wait: bool) -> str:
    """Describe the state of the latest request, with the command that continues it if needed."""
    text = f"request {asked.id} is {asked.state}"
    if asked.outcome:  # the reasons of a promotion are many; they are in `trace` and in the report
        text += f": version {asked.version}" if asked.state == "promoted" else f": {asked.outcome}"
    if requests.awaits_approval(asked):
        return f"{text}, waits for approval: defectloop retraining approve {asked.id}"
    if asked.state == "failed":
        return f"{text} → defectloop retrain"
    goes_on = asked.state in ("requested", "training") or (asked.state == "awaiting_labels" and not labels_wait)
    return f"{text} → running or interrupted; continue: defectloop retrain" if goes_on else text


def _asks_people(asked: RetrainingRequest, opened: list[OpenCampaign]) -> bool:
    return asked.campaign_id in {item.id for item in opened}


def _review(now: Status) -> str:
    waits = [
        f"campaign {item.id}: {item.progress.answered} of {item.progress.wanted} answered, "
        f"ends on {item.ends_at:%Y-%m-%d %H:%M} UTC"
        for item in now.campaigns
    ]
    if now.undecided:
        waits.append(f"{counted(now.undecided, 'part')} with the verdict review")
    return f"{'; '.join(waits)}: defectloop review" if waits else "none waiting"
