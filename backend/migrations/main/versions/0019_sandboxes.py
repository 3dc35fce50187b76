"""Tenants that are copies of others to try things on."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0019"
down_revision = "0018"

_TENANT = "NULLIF(current_setting('app.current_tenant', true), '')::uuid"


def upgrade() -> None:
    names = op.get_context().opts["installation"]
    op.create_table(
        "sandboxes",
        sa.Column("tenant_id", UUID(), sa.ForeignKey("tenants.id"), primary_key=True),
        sa.Column("source_id", UUID(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text()),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "active", sa.Boolean(), sa.Computed("state = 'ready'", persisted=True), nullable=False
        ),
        sa.CheckConstraint("state IN ('pending', 'ready', 'failed')", name="ck_sandboxes_state"),
    )
    op.create_index("ix_sandboxes_source_id", "sandboxes", ["source_id", "tenant_id"])
    op.execute("ALTER TABLE sandboxes ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY platform ON sandboxes TO {names.platform} USING (true)")
    op.execute(
        f"CREATE POLICY own ON sandboxes TO {names.app}"
        f" USING ({_TENANT} IN (source_id, tenant_id)) WITH CHECK (source_id = {_TENANT})"
    )
    op.execute(f"REVOKE ALL ON sandboxes FROM {names.app}")
    op.execute(f"GRANT SELECT, INSERT, DELETE ON sandboxes TO {names.app}")


def downgrade() -> None:
    op.drop_table("sandboxes")
