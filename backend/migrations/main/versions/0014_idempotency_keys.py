"""Keys of requests to the main database that are done once; each is seen by its user only."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, UUID

revision = "0014"
down_revision = "0013"

_MINE = (
    "user_id = NULLIF(current_setting('app.current_user', true), '')::uuid"
    " AND tenant_id IS NOT DISTINCT FROM"
    " NULLIF(current_setting('app.current_tenant', true), '')::uuid"
)


def upgrade() -> None:
    op.create_table(
        "platform_idempotency_keys",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column(
            "user_id",
            UUID(),
            sa.ForeignKey(
                "users.id", name="fk_platform_idempotency_keys_user_id_users", ondelete="CASCADE"
            ),
            nullable=False,
        ),
        sa.Column(
            "tenant_id",
            UUID(),
            sa.ForeignKey(
                "tenants.id",
                name="fk_platform_idempotency_keys_tenant_id_tenants",
                ondelete="CASCADE",
            ),
        ),
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
        "uq_platform_idempotency_keys_key_hash",
        "platform_idempotency_keys",
        ["user_id", "tenant_id", "key_hash"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_index(
        "ix_platform_idempotency_keys_expires_at", "platform_idempotency_keys", ["expires_at"]
    )
    names = op.get_context().opts["installation"]
    op.execute("ALTER TABLE platform_idempotency_keys ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY platform ON platform_idempotency_keys TO {names.platform} USING (true)"
    )
    op.execute(
        f"CREATE POLICY own ON platform_idempotency_keys TO {names.app}"
        f" USING ({_MINE}) WITH CHECK ({_MINE})"
    )


def downgrade() -> None:
    op.drop_table("platform_idempotency_keys")
