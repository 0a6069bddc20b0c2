"""Writes the page that lies beside an export: what happened on the line in the period, in tables that a person reads."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from models.files import write_whole
from pipelines.ledger import periods, verification
from pipelines.ledger.export import Exported
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.periods import Period
from pipelines.ledger.tables import Promotion, now
from pipelines.ledger.verification import Verified
from pipelines.pages import index, page
from pipelines.pages.page import Header

FILE = "summary.html"
REASONS = 20  # rejections' reasons that are listed
CHECKS = 100  # drift checks that are listed, the latest


def write(ledger: Ledger, done: Exported, folder: Path) -> Path:
    """Write the page into the folder of an export, and verify the line's chain for it."""
    period = Period(done.line, datetime.fromisoformat(done.since), datetime.fromisoformat(done.until))
    verified = verification.verify(ledger, done.line)
    verdicts = periods.verdicts(ledger, period)
    parts = sum(verdicts.values())
    uses, rejected = periods.uses(ledger, period), periods.rejections(ledger, period)
    checks = periods.drift_checks(ledger, period)
    html = page.render(
        "pipelines.period_summary",
        "summary.html",
        Header(done.line, f"Inspections {_days(period)}", facts=_facts(period, verified)),
        verified=verified,
        verdicts=[(verdict, n, n / parts if parts else 0.0) for verdict, n in verdicts.items()],
        parts=parts,
        images=sum(use.images for use in uses),
        uses=uses,
        decisions=[(one, _decided(one)) for one in periods.decisions(ledger, period)],
        withdrawals=periods.withdrawals(ledger, period),
        answers=periods.answers(ledger, period),
        rejected=rejected[:REASONS],
        more_reasons=len(rejected) - len(rejected[:REASONS]),
        n_rejected=sum(n for _, n in rejected),
        checks=checks[-CHECKS:],
        n_checks=len(checks),
        n_drifted=sum(check.drifted for check in checks),
        retrainings=periods.retrainings(ledger, period),
        deleted=periods.deleted(ledger, period),
        files=[(f"{table}.{done.format}", n) for table, n in done.rows.items() if n],
    )
    path = folder / FILE
    write_whole(path, html.encode())
    return path


def _days(period: Period) -> str:
    """Return the period in words. Midnight ends the day before."""
    last = period.until - timedelta(microseconds=1)
    whole = all(one.time() == datetime.min.time() for one in (period.since, period.until))
    if whole and period.since.date() == last.date():
        return f"on {last:%Y-%m-%d}"
    if whole:
        return f"from {period.since:%Y-%m-%d} to {last:%Y-%m-%d}"
    return f"from {period.since:%Y-%m-%d %H:%M} to {period.until:%Y-%m-%d %H:%M} UTC"


def _facts(period: Period, verified: Verified) -> list[tuple[str, str]]:
    state = f"{len(verified.problems)} problems" if verified.problems else "unaltered"
    return [
        ("period", f"{period.since:%Y-%m-%d %H:%M} to {period.until:%Y-%m-%d %H:%M} UTC, the end excluded"),
        ("made", f"{now():%Y-%m-%d %H:%M} UTC"),
        ("hash chain of the line", f"{verified.rows:,} rows, {verified.entries:,} entries: {state}"),
        ("head of the chain", f"{verified.position} {verified.head}"),
    ]


def _decided(one: Promotion) -> str:
    words = index.DECIDED[one.kind]
    return words if one.state == "done" else f"{words} ({one.state})"
