"""Keys of requests that are done once."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, UUID

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("user_id", UUID(), nullable=False),
        sa.Column("key_hash", BYTEA(), nullable=False),
        sa.Column("fingerprint", BYTEA(), nullable=False),
        sa.Column("content", BYTEA()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.Text()),
        sa.Column(
            "active",
            sa.Boolean(),
            sa.Computed("answer IS NULL", persisted=True),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index(
        "uq_idempotency_keys_user_id_key_hash",
        "idempotency_keys",
        ["user_id", "key_hash"],
        unique=True,
    )
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"])


def downgrade() -> None:
    op.drop_table("idempotency_keys")
