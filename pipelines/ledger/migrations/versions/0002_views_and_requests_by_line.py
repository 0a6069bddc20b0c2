"""Views and file names of inspections; a request is known within its line, and a replayed one by its bytes"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
TABLES = ("inspections", "rejections")


def upgrade() -> None:
    for table in TABLES:
        with op.batch_alter_table(table, schema=None) as batch_op:
            if table == "inspections":
                batch_op.add_column(sa.Column("view", sa.String(), nullable=True))
            batch_op.add_column(sa.Column("file_name", sa.String(), nullable=True))
            batch_op.drop_constraint(op.f(f"uq_{table}_request_id"), type_="unique")
            batch_op.create_unique_constraint(op.f(f"uq_{table}_line"), ["line", "request_id"])
        # The request of a replay was FOLDER/NAME, its source FOLDER. The name is kept as a name; the bytes are the
        # request, so that the same folder replayed once more still adds nothing. Of equal bytes, the first image's.
        replayed = "substr(source, 1, 1) = '/' AND substr(request_id, 1, length(source) + 1) = source || '/'"
        op.execute(f"UPDATE {table} SET file_name = substr(request_id, length(source) + 2) WHERE {replayed}")
        op.execute(
            f"UPDATE {table} SET request_id = 'sha256:' || image WHERE {replayed}"
            f" AND id IN (SELECT min(id) FROM {table} WHERE {replayed} GROUP BY line, image)"
        )


def downgrade() -> None:
    for table in TABLES:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_constraint(op.f(f"uq_{table}_line"), type_="unique")
            batch_op.create_unique_constraint(op.f(f"uq_{table}_request_id"), ["request_id"])
            batch_op.drop_column("file_name")
            if table == "inspections":
                batch_op.drop_column("view")
