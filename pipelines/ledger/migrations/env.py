"""Alembic's entry: migrate the connection that the ledger hands over."""

from alembic import context

from pipelines.ledger.tables import Record

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Record.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
