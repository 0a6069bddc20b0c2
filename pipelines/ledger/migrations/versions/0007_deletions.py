"""Images that were deleted under the line's rules of retention"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "image_deletions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("image", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("decided_at", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("done_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image_deletions")),
    )
    op.create_index("ix_image_deletions_image", "image_deletions", ["image"])
    op.create_index("ix_image_deletions_line_state", "image_deletions", ["line", "state"])


def downgrade() -> None:
    op.drop_table("image_deletions")
