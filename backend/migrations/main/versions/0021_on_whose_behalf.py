"""On whose behalf a job is done, and the audit trail is searched for it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("asked_by", UUID()))
    op.create_index(
        "ix_platform_audit_entries_on_behalf_of",
        "platform_audit_entries",
        ["on_behalf_of", "id"],
        postgresql_where=sa.text("on_behalf_of IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_platform_audit_entries_on_behalf_of", "platform_audit_entries")
    op.drop_column("jobs", "asked_by")
