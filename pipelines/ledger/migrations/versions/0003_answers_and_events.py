"""Answers without a label, campaigns that end early, events kept until a request answers for them"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

DRIFT_DETECTED = "defectloop.drift.detected"


def upgrade() -> None:
    op.add_column("campaigns", sa.Column("closed_by", sa.String(), nullable=True))
    op.add_column("campaigns", sa.Column("closed_because", sa.String(), nullable=True))
    op.add_column("retraining_requests", sa.Column("last_review", sa.Integer(), nullable=True))
    with op.batch_alter_table("reviews") as batch_op:
        batch_op.add_column(sa.Column("answer", sa.String(), nullable=False, server_default="label"))
        batch_op.add_column(sa.Column("images", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.alter_column("label", existing_type=sa.String(), nullable=True)
    op.create_table(
        "events",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("happened_at", sa.DateTime(), nullable=False),
        sa.Column("sent_at", sa.DateTime(), nullable=True),
        sa.Column("request_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["request_id"], ["retraining_requests.id"], name=op.f("fk_events_request_id_retraining_requests")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_line", "events", ["line"])
    _keep_what_waits()
    with op.batch_alter_table("drift_checks") as batch_op:
        batch_op.drop_column("announced_at")
    # Requests that ended with a model had learned from every review of a completed campaign until then.
    op.execute(
        "UPDATE retraining_requests SET last_review = (SELECT max(reviews.id) FROM reviews WHERE reviews.line = "
        "retraining_requests.line AND reviews.campaign_id IS NOT NULL AND reviews.reviewed_at <= "
        "retraining_requests.closed_at) WHERE state IN ('promoted', 'refused')"
    )


def _keep_what_waits() -> None:
    """Drifts that were never announced become events; announced ones started their request, or were declined."""
    events = sa.table(
        "events",
        *(sa.column(name, sa.String()) for name in ("id", "line", "name")),
        sa.column("payload", sa.JSON()),
        sa.column("happened_at", sa.DateTime()),
    )
    unannounced = sa.text(
        "SELECT event_id, line, id, share_drifted, checked_at FROM drift_checks "
        "WHERE drifted AND announced_at IS NULL AND event_id IS NOT NULL"
    ).columns(checked_at=sa.DateTime())
    connection = op.get_bind()
    for row in connection.execute(unannounced).all():
        connection.execute(
            events.insert().values(
                id=row.event_id,
                line=row.line,
                name=DRIFT_DETECTED,
                payload={"drift_check": row.id, "share_drifted": row.share_drifted},
                happened_at=row.checked_at,
            )
        )


def downgrade() -> None:
    with op.batch_alter_table("drift_checks") as batch_op:
        batch_op.add_column(sa.Column("announced_at", sa.DateTime(), nullable=True))
    op.execute(
        "UPDATE drift_checks SET announced_at = checked_at WHERE event_id NOT IN "
        "(SELECT id FROM events WHERE sent_at IS NULL AND request_id IS NULL)"
    )
    op.drop_index("ix_events_line", "events")
    op.drop_table("events")
    op.execute("DELETE FROM reviews WHERE label IS NULL")
    with op.batch_alter_table("reviews") as batch_op:
        batch_op.alter_column("label", existing_type=sa.String(), nullable=False)
        batch_op.drop_column("images")
        batch_op.drop_column("answer")
    op.execute("UPDATE retraining_requests SET state = 'refused' WHERE state = 'failed'")
    op.drop_column("retraining_requests", "last_review")
    op.drop_column("campaigns", "closed_because")
    op.drop_column("campaigns", "closed_by")
