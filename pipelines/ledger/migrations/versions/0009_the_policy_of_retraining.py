"""Retraining requests: shift, approval, cancellation and seconds of training"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

ADDED: dict[str, sa.types.TypeEngine] = {
    "shift": sa.String(),
    "needs_approval": sa.Boolean(),
    "approved_by": sa.String(),
    "approved_because": sa.String(),
    "cancelled_by": sa.String(),
    "training_s": sa.Float(),
}


def upgrade() -> None:
    for name, kind in ADDED.items():
        op.add_column("retraining_requests", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    for name in reversed(ADDED):
        op.drop_column("retraining_requests", name)
