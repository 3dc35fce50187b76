"""Events that leave the house: outbox, inbox, what could not be delivered, how far readers are."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0013"
down_revision = "0012"

_USER = "NULLIF(current_setting('app.current_user', true), '')::uuid"
_ADMINISTERS = f"""EXISTS (
    SELECT FROM users WHERE id = {_USER} AND platform_role = 'platform_admin' AND active
)"""
_BACKLOG = """
CREATE FUNCTION event_backlog()
RETURNS TABLE (
    unsent bigint, parked bigint, dead bigint, oldest_parked_seconds double precision,
    lag numeric, lag_age_seconds double precision
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT (SELECT count(*) FROM platform_outbox WHERE sent_at IS NULL),
           count(*) FILTER (WHERE state = 'parked'),
           count(*) FILTER (WHERE state = 'dead'),
           coalesce(
               extract(epoch FROM now() - min(created_at) FILTER (WHERE state = 'parked')), 0
           ),
           (SELECT coalesce(sum(messages), 0) FROM consumer_lags),
           (SELECT coalesce(extract(epoch FROM now() - min(measured_at)), 0) FROM consumer_lags)
    FROM undelivered_events
$$
"""


def upgrade() -> None:
    op.create_table(
        "platform_outbox",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("actor_id", UUID()),
        sa.Column("data", JSONB(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True)),
        sa.Column("tenant_id", UUID()),
        sa.Column("key", sa.Text(), nullable=False),
    )
    op.create_index(
        "ix_platform_outbox_unsent",
        "platform_outbox",
        ["position"],
        postgresql_where=sa.text("sent_at IS NULL"),
    )
    op.create_index("ix_platform_outbox_sent_at", "platform_outbox", ["sent_at"])
    op.create_table(
        "platform_inbox",
        sa.Column("consumer", sa.Text(), primary_key=True),
        sa.Column("event_id", UUID(), primary_key=True),
        sa.Column(
            "handled_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("now()"),
        ),
    )
    op.create_index("ix_platform_inbox_handled_at", "platform_inbox", ["handled_at"])
    op.create_table(
        "consumer_lags",
        sa.Column("topic", sa.Text(), primary_key=True),
        sa.Column("partition", sa.Integer(), primary_key=True),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
    )
    _create_undelivered()
    _grant()


def _create_undelivered() -> None:
    op.create_table(
        "undelivered_events",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("consumer", sa.Text()),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("event_id", UUID()),
        sa.Column("type", sa.Text()),
        sa.Column("tenant_id", UUID()),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer()),
        sa.Column("offset", sa.BigInteger()),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "active",
            sa.Boolean(),
            sa.Computed("state = 'parked'", persisted=True),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('parked', 'dead')", name="ck_undelivered_events_state"),
    )
    op.create_index(
        "uq_undelivered_events_event", "undelivered_events", ["consumer", "event_id"], unique=True
    )
    op.create_index(
        "uq_undelivered_events_undecodable",
        "undelivered_events",
        ["topic", "partition", "offset", sa.text("md5(payload)")],
        unique=True,
        postgresql_where=sa.text("event_id IS NULL"),
    )
    op.create_index(
        "ix_undelivered_events_parked",
        "undelivered_events",
        ["consumer", "key", "position"],
        postgresql_where=sa.text("state = 'parked'"),
    )
    op.create_index(
        "ix_undelivered_events_dead",
        "undelivered_events",
        ["id"],
        postgresql_where=sa.text("state = 'dead'"),
    )


def _grant() -> None:
    names = op.get_context().opts["installation"]
    for table in ("platform_outbox", "platform_inbox", "undelivered_events"):
        op.execute(f"REVOKE ALL ON {table} FROM {names.app}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY platform ON {table} TO {names.platform} USING (true)")
    op.execute(f"REVOKE ALL ON consumer_lags FROM {names.app}")
    # It tells, and handles; it does not read what others told.
    for table in ("platform_outbox", "platform_inbox"):
        op.execute(f"GRANT INSERT ON {table} TO {names.app}")
        op.execute(f"CREATE POLICY inserts ON {table} FOR INSERT TO {names.app} WITH CHECK (true)")
    op.execute(f"GRANT SELECT, UPDATE, DELETE ON undelivered_events TO {names.app}")
    op.execute(
        f"CREATE POLICY administrators ON undelivered_events TO {names.app} USING ({_ADMINISTERS})"
    )
    op.execute(_BACKLOG)
    op.execute("REVOKE ALL ON FUNCTION event_backlog FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION event_backlog TO {names.app}")


def downgrade() -> None:
    op.execute("DROP FUNCTION event_backlog()")
    for table in ("undelivered_events", "consumer_lags", "platform_inbox", "platform_outbox"):
        op.drop_table(table)
