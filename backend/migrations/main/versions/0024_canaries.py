"""When a job last came through each queue."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.create_table(
        "canaries",
        sa.Column("queue", sa.Text(), primary_key=True),
        sa.Column("ran_at", sa.DateTime(timezone=True), nullable=False),
    )
    names = op.get_context().opts["installation"]
    op.execute(f"REVOKE ALL ON canaries FROM {names.app}")
    op.execute(f"GRANT SELECT ON canaries TO {names.app}")


def downgrade() -> None:
    op.drop_table("canaries")
