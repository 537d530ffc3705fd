"""Completions with their labels and tags, and sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "completions",
        sa.Column("tenant", sa.Text(), primary_key=True),
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("end_user", sa.Text()),
        sa.Column("project", sa.Text()),
        sa.Column("campaign", sa.Text()),
        sa.Column("arm", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error_reason", sa.Text()),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text()),
        sa.Column("upstream_model", sa.Text()),
        sa.Column("first_token_ms", sa.Integer()),
        sa.Column("duration_ms", sa.Integer()),
        sa.Column("is_usage_estimated", sa.Boolean(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("completion", sa.LargeBinary(), nullable=False),
    )
    op.create_index("completions_of_model", "completions", ["tenant", "model", "id"])
    op.create_index("completions_of_session", "completions", ["tenant", "session_id", "id"])
    _create_user_index("completions", "id")
    _create_marks()
    _create_sessions()


def _create_marks() -> None:
    op.create_table(
        "labels",
        sa.Column("tenant", sa.Text(), primary_key=True),
        sa.Column("completion_id", sa.Uuid(), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("pair", sa.Uuid(), nullable=False),
        _of_completion(),
    )
    op.create_index("labels_by_pair", "labels", ["tenant", "pair", "completion_id"])
    op.create_table(
        "tags",
        sa.Column("tenant", sa.Text(), primary_key=True),
        sa.Column("completion_id", sa.Uuid(), primary_key=True),
        sa.Column("place", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("tag", sa.Text(), nullable=False),
        _of_completion(),
    )
    op.create_index("tags_by_tag", "tags", ["tenant", "tag", "completion_id"], unique=True)


def _of_completion() -> sa.ForeignKeyConstraint:
    columns = ["tenant", "completion_id"]
    return sa.ForeignKeyConstraint(columns, ["completions.tenant", "completions.id"], ondelete="CASCADE")


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("tenant", sa.Text(), primary_key=True),
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("first_id", sa.Uuid(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("end_user", sa.Text()),
    )
    op.create_index("sessions_of_tenant", "sessions", ["tenant", "first_id"])
    _create_user_index("sessions", "first_id")


def _create_user_index(table: str, last: str) -> None:
    given = sa.text("end_user IS NOT NULL")
    columns = ["tenant", "end_user", last]
    op.create_index(f"{table}_of_user", table, columns, sqlite_where=given, postgresql_where=given)
