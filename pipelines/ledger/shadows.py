"""Verdicts of a challenger beside those that were answered."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from pipelines.amounts import counted
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection, ShadowVerdict


def add(ledger: Ledger, verdict: ShadowVerdict) -> None:
    with ledger.writing() as session:
        session.add(verdict)


def pairs(ledger: Ledger, line: str, champion: str, challenger: str) -> list[tuple[str, str, str]]:
    """Return (part, answered verdict, shadow's verdict) of every image that both versions judged, oldest first."""
    query = (
        select(Inspection.part, Inspection.verdict, ShadowVerdict.verdict)
        .join(ShadowVerdict, ShadowVerdict.inspection_id == Inspection.id)
        .where(
            ShadowVerdict.line == line,
            Inspection.model_version == champion,
            ShadowVerdict.model_version == challenger,
        )
        .order_by(ShadowVerdict.id)
    )
    with ledger.reading() as session:
        return [(part, answered, beside) for part, answered, beside in session.execute(query)]


@dataclass(frozen=True)
class Agreement:
    """How often two versions gave the same verdict on the same production images; `changed` counts (before, after)."""

    champion: str
    challenger: str
    images: int
    changed: dict[tuple[str, str], int]

    @property
    def agreed(self) -> int:
        return self.images - sum(self.changed.values())

    def __str__(self) -> str:
        changes = ", ".join(f"{n} from {before} to {after}" for (before, after), n in self.changed.items())
        return (
            f"on {counted(self.images, 'production image')}, version {self.challenger} gave the same verdict as version "
            f"{self.champion} on {self.agreed}" + (f"; it changed {changes}" if changes else "")
        )


def agreements(ledger: Ledger, line: str, challenger: str | None = None) -> list[Agreement]:
    """Return the agreement of each pair of versions on production images, optionally only those with this challenger."""
    query = (
        select(
            Inspection.model_version,
            ShadowVerdict.model_version,
            Inspection.verdict,
            ShadowVerdict.verdict,
            func.count(),
        )
        .join(ShadowVerdict, ShadowVerdict.inspection_id == Inspection.id)
        .where(ShadowVerdict.line == line)
        .group_by(Inspection.model_version, ShadowVerdict.model_version, Inspection.verdict, ShadowVerdict.verdict)
    )
    if challenger is not None:
        query = query.where(ShadowVerdict.model_version == challenger)
    pairs: dict[tuple[str, str], dict[tuple[str, str], int]] = {}
    with ledger.reading() as session:
        for answered_by, shadow_by, answered, shadow, count in session.execute(query):
            pairs.setdefault((answered_by, shadow_by), {})[(answered, shadow)] = count
    return [
        Agreement(
            champion,
            challenger,
            sum(counts.values()),
            {change: n for change, n in sorted(counts.items()) if change[0] != change[1]},
        )
        for (champion, challenger), counts in sorted(pairs.items())
    ]
