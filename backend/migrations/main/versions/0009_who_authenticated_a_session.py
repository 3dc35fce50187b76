"""Which tenant's identity provider authenticated a session."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("tenant_id", UUID()))
    op.create_foreign_key(
        "fk_sessions_tenant_id_tenants",
        "sessions",
        "tenants",
        ["tenant_id"],
        ["id"],
        ondelete="CASCADE",
    )


def downgrade() -> None:
    op.drop_column("sessions", "tenant_id")
