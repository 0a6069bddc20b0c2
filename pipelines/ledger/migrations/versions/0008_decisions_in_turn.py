"""Each decision names the one before it, and no two name the same: hosts that share the ledger decide in turn"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("promotions", sa.Column("follows", sa.Integer(), nullable=True))
    op.create_index("ix_promotions_follows", "promotions", ["line", "follows"], unique=True)


def downgrade() -> None:
    op.drop_index("ix_promotions_follows", "promotions")
    op.drop_column("promotions", "follows")
