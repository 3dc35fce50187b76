"""Databases that wait for a tenant, and which of them a tenant's is going to be."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    names = op.get_context().opts["installation"]
    op.create_table(
        "spare_databases",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("sealed_credentials", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text()),
        sa.Column("digest", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "active",
            sa.Boolean(),
            sa.Computed("revision IS NOT NULL", persisted=True),
            nullable=False,
        ),
    )
    op.add_column("tenant_databases", sa.Column("spare_id", UUID()))
    op.execute("ALTER TABLE spare_databases ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY platform ON spare_databases TO {names.platform} USING (true)")
    # Whoever creates a tenant takes one that is ready: locks its row, and deletes it.
    op.execute(
        f"CREATE POLICY ready ON spare_databases TO {names.app}"
        " USING (revision IS NOT NULL) WITH CHECK (false)"
    )
    op.execute(f"REVOKE INSERT ON spare_databases FROM {names.app}")


def downgrade() -> None:
    op.drop_column("tenant_databases", "spare_id")
    op.drop_table("spare_databases")
