"""Class probabilities and thresholds of inspections; the hash chain, which begins with the rows that are there"""

import sqlalchemy as sa
from alembic import op

from pipelines.ledger import chain

revision = "0005"
down_revision = "0004"
CHAINED = (
    "inspections",
    "rejections",
    "drift_checks",
    "reviews",
    "retraining_requests",
    "promotions",
    "withdrawals",
)


def upgrade() -> None:
    op.add_column(
        "inspections", sa.Column("class_probabilities", sa.JSON(), nullable=False, server_default=sa.text("'{}'"))
    )
    op.add_column("inspections", sa.Column("pass_below", sa.Float(), nullable=True))
    op.add_column("inspections", sa.Column("fail_from", sa.Float(), nullable=True))
    op.create_index(
        "ix_inspections_search", "inspections", ["line", "inspected_at", "id", "verdict", "model_version", "slice"]
    )
    op.create_table(
        "chain",
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("record_id", sa.Integer(), nullable=False),
        sa.Column("record_sha256", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("chained_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("line", "position", name=op.f("pk_chain")),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    tables = {name: _columns(connection, name) for name in CHAINED}
    lines = " UNION ".join(f"SELECT line FROM {name}" for name in CHAINED)
    for line in connection.execute(sa.text(f"SELECT line FROM ({lines}) AS lines ORDER BY line")).scalars().all():
        chain.begin(connection, line, tables)


def _columns(connection: sa.Connection, table: str) -> list[tuple[str, bool]]:
    columns = sa.inspect(connection).get_columns(table)
    return sorted((column["name"], isinstance(column["type"], sa.JSON)) for column in columns)


def downgrade() -> None:
    op.drop_table("chain")
    op.drop_index("ix_inspections_search", "inspections")
    with op.batch_alter_table("inspections") as batch_op:
        batch_op.drop_column("fail_from")
        batch_op.drop_column("pass_below")
        batch_op.drop_column("class_probabilities")
