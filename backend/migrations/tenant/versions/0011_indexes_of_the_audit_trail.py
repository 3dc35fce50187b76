"""What the audit trail is filtered by, the rows that are not sealed, and no position twice."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
autocommit = True
code_can_wait = True

_FILTERS = ("type", "target", "user_id")


def upgrade() -> None:
    op.create_index(
        "uq_audit_entries_position",
        "audit_entries",
        ["position"],
        unique=True,
        postgresql_concurrently=True,
        if_not_exists=True,
    )
    op.create_index(
        "ix_audit_entries_unsealed",
        "audit_entries",
        ["recorded_at", "id"],
        postgresql_where=sa.text("position IS NULL"),
        postgresql_concurrently=True,
        if_not_exists=True,
    )
    for column in _FILTERS:
        op.create_index(
            f"ix_audit_entries_{column}",
            "audit_entries",
            [column, "id"],
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def downgrade() -> None:
    for name in (
        *(f"ix_audit_entries_{column}" for column in reversed(_FILTERS)),
        "ix_audit_entries_unsealed",
        "uq_audit_entries_position",
    ):
        op.drop_index(name, "audit_entries", if_exists=True)
