"""Webhooks: endpoints, what is sent to them, and every attempt."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, UUID

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("event_types", ARRAY(sa.Text()), nullable=False),
        sa.Column("sealed_secret", sa.Text(), nullable=False),
        sa.Column("sealed_former_secret", sa.Text()),
        sa.Column("former_secret_ends_at", sa.DateTime(timezone=True)),
        sa.Column("failing_since", sa.DateTime(timezone=True)),
        sa.Column("disabled_reason", sa.Text()),
        _active("disabled_reason IS NULL"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "webhook_messages",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_webhook_messages_created_at", "webhook_messages", ["created_at"])
    _create_deliveries()
    _create_attempts()


def _create_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", UUID(), primary_key=True),
        _reference("endpoint_id", "webhook_endpoints"),
        _reference("message_id", "webhook_messages"),
        sa.Column("replay", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        _active("state = 'pending'"),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'failed', 'skipped')",
            name="ck_webhook_deliveries_state",
        ),
    )
    op.create_index(
        "ix_webhook_deliveries_endpoint_id", "webhook_deliveries", ["endpoint_id", "id"]
    )
    op.create_index("ix_webhook_deliveries_message_id", "webhook_deliveries", ["message_id"])
    op.create_index(
        "ix_webhook_deliveries_pending",
        "webhook_deliveries",
        ["next_attempt_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )


def _create_attempts() -> None:
    op.create_table(
        "webhook_attempts",
        sa.Column("id", UUID(), primary_key=True),
        _reference("delivery_id", "webhook_deliveries"),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("status", sa.Integer()),
        sa.Column("error", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.Column("answer", sa.Text()),
    )
    op.create_index(
        "uq_webhook_attempts_delivery_id_number",
        "webhook_attempts",
        ["delivery_id", "number"],
        unique=True,
    )
    op.create_index(
        "ix_webhook_attempts_running",
        "webhook_attempts",
        ["started_at"],
        postgresql_where=sa.text("finished_at IS NULL"),
    )


def _reference(column: str, table: str) -> sa.Column[object]:
    return sa.Column(
        column, UUID(), sa.ForeignKey(f"{table}.id", ondelete="CASCADE"), nullable=False
    )


def _active(condition: str) -> sa.Column[bool]:
    return sa.Column("active", sa.Boolean(), sa.Computed(condition, persisted=True), nullable=False)


def downgrade() -> None:
    op.drop_table("webhook_attempts")
    op.drop_table("webhook_deliveries")
    op.drop_table("webhook_messages")
    op.drop_table("webhook_endpoints")
