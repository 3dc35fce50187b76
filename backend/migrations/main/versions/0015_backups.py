"""Backups of tenants, and the databases that lie beside a tenant's own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0015"
down_revision = "0014"

_TENANT = "NULLIF(current_setting('app.current_tenant', true), '')::uuid"


def upgrade() -> None:
    names = op.get_context().opts["installation"]
    op.add_column("tenants", sa.Column("last_backup_at", sa.DateTime(timezone=True)))
    op.add_column("tenants", sa.Column("last_proven_at", sa.DateTime(timezone=True)))
    _create_backups()
    op.execute("ALTER TABLE backups ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY platform ON backups TO {names.platform} USING (true)")
    op.execute(f"REVOKE ALL ON backups FROM {names.app}")
    _create_kept_databases()
    op.execute("ALTER TABLE kept_databases ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY platform ON kept_databases TO {names.platform} USING (true)")
    op.execute(f"CREATE POLICY own ON kept_databases TO {names.app} USING (tenant_id = {_TENANT})")


def _create_backups() -> None:
    op.create_table(
        "backups",
        sa.Column("id", UUID(), primary_key=True),
        # No key to tenants: a backup outlives its tenant.
        sa.Column("tenant_id", UUID(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text()),
        sa.Column("rows", sa.BigInteger()),
        sa.Column("files", sa.BigInteger()),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("failure", sa.Text()),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("proven_at", sa.DateTime(timezone=True)),
        sa.Column("proof_failure", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "active", sa.Boolean(), sa.Computed("state = 'complete'", persisted=True),
            nullable=False,
        ),
        sa.CheckConstraint("state IN ('running', 'complete', 'failed')", name="ck_backups_state"),
        sa.CheckConstraint("origin IN ('asked', 'scheduled')", name="ck_backups_origin"),
    )  # fmt: skip
    op.create_index("ix_backups_tenant_id", "backups", ["tenant_id", "id"])


def _create_kept_databases() -> None:
    op.create_table(
        "kept_databases",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("tenant_id", UUID(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("database", sa.Text(), nullable=False, unique=True),
        sa.Column("sealed_credentials", sa.Text(), nullable=False),
        sa.Column("schema_revision", sa.Text()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("backup_id", UUID()),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "active", sa.Boolean(), sa.Computed("schema_revision IS NOT NULL", persisted=True),
            nullable=False,
        ),
        sa.CheckConstraint("kind IN ('restored', 'former')", name="ck_kept_databases_kind"),
    )  # fmt: skip
    op.create_index("ix_kept_databases_tenant_id", "kept_databases", ["tenant_id"])


def downgrade() -> None:
    op.drop_table("kept_databases")
    op.drop_table("backups")
    op.drop_column("tenants", "last_proven_at")
    op.drop_column("tenants", "last_backup_at")
