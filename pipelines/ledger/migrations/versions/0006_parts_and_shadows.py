"""Parts that the line declared complete, verdicts of a challenger, and the view of a rejected image"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "part_completions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("part", sa.String(), nullable=False),
        sa.Column("expected", sa.JSON(), nullable=False),
        sa.Column("completed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_part_completions")),
    )
    op.create_index("ix_part_completions_line_part", "part_completions", ["line", "part"])
    op.create_table(
        "shadow_verdicts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("inspection_id", sa.Integer(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("artefact_sha256", sa.String(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("raw_score", sa.Float(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("judged_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["inspection_id"], ["inspections.id"], name=op.f("fk_shadow_verdicts_inspection_id_inspections")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow_verdicts")),
        sa.UniqueConstraint("inspection_id", "artefact_sha256", name=op.f("uq_shadow_verdicts_inspection_id")),
    )
    op.create_index("ix_shadow_verdicts_line", "shadow_verdicts", ["line"])
    op.add_column("rejections", sa.Column("view", sa.String(), nullable=True))
    op.create_index("ix_rejections_line_part", "rejections", ["line", "part"])


def downgrade() -> None:
    op.drop_index("ix_rejections_line_part", "rejections")
    op.drop_column("rejections", "view")
    op.drop_table("shadow_verdicts")
    op.drop_table("part_completions")
