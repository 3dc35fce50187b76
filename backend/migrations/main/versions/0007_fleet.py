"""Migrations of the fleet: runs, what became of each tenant, which code serves which schema."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column(
        "tenant_databases",
        sa.Column("tags", ARRAY(sa.Text()), nullable=False, server_default="{}"),
    )
    op.create_table(
        "schema_releases",
        sa.Column("revision", sa.Text(), primary_key=True),
        sa.Column("oldest_code", sa.Text(), nullable=False),
    )
    _create_runs()
    names = op.get_context().opts["installation"]
    # Every process asks it; only a migration writes it.
    op.execute(f"REVOKE INSERT, UPDATE, DELETE ON schema_releases FROM {names.app}")
    for table in ("migration_runs", "migration_results"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY platform ON {table} TO {names.platform} USING (true)")
        op.execute(f"REVOKE ALL ON {table} FROM {names.app}")


def _create_runs() -> None:
    op.create_table(
        "migration_runs",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("plan", JSONB(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("failure", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "active",
            sa.Boolean(),
            sa.Computed("status = 'running'", persisted=True),
            nullable=False,
        ),
        sa.CheckConstraint(
            "status IN ('running', 'succeeded', 'failed', 'stopped', 'interrupted')",
            name="ck_migration_runs_status",
        ),
    )
    op.create_table(
        "migration_results",
        sa.Column(
            "run_id",
            UUID(),
            sa.ForeignKey("migration_runs.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        # No key to tenants: the record outlives its tenant.
        sa.Column("tenant_id", UUID(), primary_key=True),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("source", sa.Text()),
        sa.Column("target", sa.Text()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float()),
        sa.Column("error", sa.Text()),
        sa.CheckConstraint(
            "status IN ('pending', 'succeeded', 'failed', 'gone')",
            name="ck_migration_results_status",
        ),
    )
    op.create_index("ix_migration_results_tenant_id", "migration_results", ["tenant_id"])


def downgrade() -> None:
    op.drop_table("migration_results")
    op.drop_table("migration_runs")
    op.drop_table("schema_releases")
    op.drop_column("tenant_databases", "tags")
