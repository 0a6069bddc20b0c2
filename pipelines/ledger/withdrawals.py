"""Withdrawals of versions by rollbacks, and who lifted them."""

from __future__ import annotations

from sqlalchemy import Select, or_, select

from pipelines.ledger import promotions
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Promotion, Withdrawal, now


def add(ledger: Ledger, rollback: Promotion, withdrawal: Withdrawal) -> None:
    """Store a rollback and its withdrawal in one transaction. Raises Overtaken like `promotions.add`."""
    with promotions.in_turn(rollback.line), ledger.writing() as session:
        session.add(rollback)
        session.flush()
        withdrawal.promotion_id = rollback.id
        session.add(withdrawal)


def of(ledger: Ledger, line: str, version: str, artefact_sha256: str) -> Withdrawal | None:
    """Return the active withdrawal of this version, or of another version with the same file, or None."""
    with ledger.reading() as session:
        return session.scalar(_active(line, version, artefact_sha256).limit(1))


def of_rollback(ledger: Ledger, promotion_id: int) -> Withdrawal | None:
    with ledger.reading() as session:
        return session.scalar(select(Withdrawal).where(Withdrawal.promotion_id == promotion_id))


def standing(ledger: Ledger, line: str) -> list[Withdrawal]:
    """Return all withdrawals of the line that are not lifted, oldest first."""
    query = select(Withdrawal).where(Withdrawal.line == line, Withdrawal.lifted_at.is_(None)).order_by(Withdrawal.id)
    with ledger.reading() as session:
        return list(session.scalars(query))


def lift(ledger: Ledger, line: str, version: str, artefact_sha256: str, reviewer: str, reason: str) -> None:
    """Lift the active withdrawals of this version or its file, if there are any."""
    with ledger.writing() as session:
        for withdrawal in session.scalars(_active(line, version, artefact_sha256)):
            withdrawal.lifted_by, withdrawal.lifted_for, withdrawal.lifted_at = reviewer, reason, now()


def _active(line: str, version: str, artefact_sha256: str) -> Select[tuple[Withdrawal]]:
    same = or_(Withdrawal.version == version, Withdrawal.artefact_sha256 == artefact_sha256)
    query = select(Withdrawal).where(Withdrawal.line == line, Withdrawal.lifted_at.is_(None), same)
    return query.order_by(Withdrawal.id)
