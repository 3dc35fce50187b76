"""The audit trail is searched for those on whose behalf something was done."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
autocommit = True
code_can_wait = True


def upgrade() -> None:
    op.create_index(
        "ix_audit_entries_on_behalf_of",
        "audit_entries",
        ["on_behalf_of", "id"],
        postgresql_where=sa.text("on_behalf_of IS NOT NULL"),
        postgresql_concurrently=True,
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_index("ix_audit_entries_on_behalf_of", "audit_entries", if_exists=True)
