"""The tables of the store, as the newest migration leaves them.

Every list is read from one index that begins with the tenant and ends with the completion's id, so that a page
costs the same wherever it stands.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
)

METADATA = MetaData()

COMPLETIONS = Table(
    "completions",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("created", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("session_id", Uuid, nullable=False),
    Column("end_user", Text),  # "user" is a word of SQL
    Column("project", Text),
    Column("campaign", Text),
    Column("arm", Text),
    Column("status", Text, nullable=False),
    Column("error_reason", Text),
    Column("request_id", Text, nullable=False),
    Column("provider", Text),
    Column("upstream_model", Text),
    Column("first_token_ms", Integer),
    Column("duration_ms", Integer),
    Column("is_usage_estimated", Boolean, nullable=False),
    # Serialised messages of the contract, whose fields keep their numbers.
    Column("request", LargeBinary, nullable=False),
    Column("completion", LargeBinary, nullable=False),
)
Index("completions_of_model", COMPLETIONS.c.tenant, COMPLETIONS.c.model, COMPLETIONS.c.id)
Index("completions_of_session", COMPLETIONS.c.tenant, COMPLETIONS.c.session_id, COMPLETIONS.c.id)
Index(
    "completions_of_user",
    COMPLETIONS.c.tenant,
    COMPLETIONS.c.end_user,
    COMPLETIONS.c.id,
    sqlite_where=COMPLETIONS.c.end_user.is_not(None),
    postgresql_where=COMPLETIONS.c.end_user.is_not(None),
)


def _of_completion() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["tenant", "completion_id"], [COMPLETIONS.c.tenant, COMPLETIONS.c.id], ondelete="CASCADE"
    )


LABELS = Table(
    "labels",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("completion_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    # A digest of key and value: these themselves may be longer than an entry of PostgreSQL's indexes (2,704 bytes).
    Column("pair", Uuid, nullable=False),
    _of_completion(),
)
Index("labels_by_pair", LABELS.c.tenant, LABELS.c.pair, LABELS.c.completion_id)

TAGS = Table(
    "tags",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("completion_id", Uuid, primary_key=True),
    Column("place", SmallInteger, primary_key=True, autoincrement=False),
    Column("tag", Text, nullable=False),
    _of_completion(),
)
Index("tags_by_tag", TAGS.c.tenant, TAGS.c.tag, TAGS.c.completion_id, unique=True)

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    # Of its first completion that is still there:
    Column("first_id", Uuid, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("end_user", Text),
)
Index("sessions_of_tenant", SESSIONS.c.tenant, SESSIONS.c.first_id)
Index(
    "sessions_of_user",
    SESSIONS.c.tenant,
    SESSIONS.c.end_user,
    SESSIONS.c.first_id,
    sqlite_where=SESSIONS.c.end_user.is_not(None),
    postgresql_where=SESSIONS.c.end_user.is_not(None),
)
