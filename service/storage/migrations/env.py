"""What Alembic runs to migrate: the caller gives the connection, with a transaction that it commits itself."""

from __future__ import annotations

from alembic import context

from service.storage.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
