"""Exports that tenants ask for."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0017"
down_revision = "0016"

_TENANT = "NULLIF(current_setting('app.current_tenant', true), '')::uuid"


def upgrade() -> None:
    names = op.get_context().opts["installation"]
    op.create_table(
        "exports",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("tenant_id", UUID(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("requested_by", UUID(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("failure", sa.Text()),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "active", sa.Boolean(), sa.Computed("state = 'ready'", persisted=True), nullable=False
        ),
        sa.CheckConstraint("state IN ('pending', 'ready', 'failed')", name="ck_exports_state"),
    )
    op.create_index("ix_exports_tenant_id", "exports", ["tenant_id", "id"])
    op.create_index(
        "uq_exports_pending",
        "exports",
        ["tenant_id"],
        unique=True,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.execute("ALTER TABLE exports ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY platform ON exports TO {names.platform} USING (true)")
    op.execute(f"CREATE POLICY own ON exports TO {names.app} USING (tenant_id = {_TENANT})")
    op.execute(f"REVOKE ALL ON exports FROM {names.app}")
    op.execute(f"GRANT SELECT, INSERT, DELETE ON exports TO {names.app}")


def downgrade() -> None:
    op.drop_table("exports")
