"""Versions that were rolled back are withdrawn until a person lifts that"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "withdrawals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("artefact_sha256", sa.String(), nullable=True),
        sa.Column("promotion_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("withdrawn_by", sa.String(), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(), nullable=False),
        sa.Column("lifted_by", sa.String(), nullable=True),
        sa.Column("lifted_for", sa.String(), nullable=True),
        sa.Column("lifted_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["promotion_id"], ["promotions.id"], name=op.f("fk_withdrawals_promotion_id_promotions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_withdrawals")),
        sa.UniqueConstraint("promotion_id", name=op.f("uq_withdrawals_promotion_id")),
    )
    with op.batch_alter_table("withdrawals", schema=None) as batch_op:
        batch_op.create_index("ix_withdrawals_line", ["line"], unique=False)
    # Earlier rollbacks count too, where the version did not become champion again after them. Its file is known to the
    # ledger where the line inspected with it.
    op.execute(
        """
        INSERT INTO withdrawals (line, version, artefact_sha256, promotion_id, reason, withdrawn_at)
        SELECT p.line, p.champion_before,
               (SELECT min(i.artefact_sha256) FROM inspections i
                WHERE i.line = p.line AND i.model_version = p.champion_before),
               p.id, 'rolled back to version ' || p.version, p.decided_at
        FROM promotions p
        WHERE p.kind = 'rollback' AND p.champion_before IS NOT NULL AND p.champion_before <> p.version
          AND NOT EXISTS (SELECT 1 FROM promotions later
                          WHERE later.line = p.line AND later.id > p.id AND later.kind <> 'refuse'
                            AND (later.version = p.champion_before
                                 OR later.kind = 'rollback' AND later.champion_before = p.champion_before))
        """
    )


def downgrade() -> None:
    op.drop_table("withdrawals")
