"""``active`` for files and documents, as in the main database (docs/decisions/0012)."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
unsafe_reason = "it is older than the first release: no tenant's table has rows yet"


def upgrade() -> None:
    op.add_column(
        "files",
        sa.Column(
            "active",
            sa.Boolean(),
            sa.Computed("state = 'available'", persisted=True),
            nullable=False,
        ),
    )
    op.add_column(
        "documents",
        sa.Column(
            "active",
            sa.Boolean(),
            sa.Computed("deleted_at IS NULL", persisted=True),
            nullable=False,
        ),
    )


def downgrade() -> None:
    op.drop_column("documents", "active")
    op.drop_column("files", "active")
