"""The cause of a drift, since when it lasts, and the numbers of its check"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("drift_checks", sa.Column("cause", sa.String(), nullable=True))
    op.add_column("drift_checks", sa.Column("since", sa.DateTime(), nullable=True))
    op.add_column("drift_checks", sa.Column("numbers", sa.JSON(), nullable=True))


def downgrade() -> None:
    for name in ("numbers", "since", "cause"):
        op.drop_column("drift_checks", name)
