"""The table of due work: the application may only add to it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0004"
down_revision = "0003"

_TENANT = "NULLIF(current_setting('app.current_tenant', true), '')::uuid"


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("tenant_id", UUID()),
        sa.Column("slot", sa.Text()),
        sa.Column("arguments", JSONB(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("hinted_at", sa.DateTime(timezone=True)),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'done', 'failed', 'dropped')", name="ck_jobs_state"
        ),
    )
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["queue", "due_at"],
        postgresql_where=sa.text("state IN ('waiting', 'running')"),
    )
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"])
    op.create_index(
        "uq_jobs_slot",
        "jobs",
        ["name", "tenant_id", "slot"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("slot IS NOT NULL"),
    )
    names = op.get_context().opts["installation"]
    op.execute(f"REVOKE ALL ON jobs FROM {names.app}")
    op.execute(f"GRANT INSERT ON jobs TO {names.app}")
    op.execute("ALTER TABLE jobs ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY platform ON jobs TO {names.platform} USING (true)")
    op.execute(
        f"CREATE POLICY inserts ON jobs FOR INSERT TO {names.app}"
        f" WITH CHECK (tenant_id IS NULL OR tenant_id = {_TENANT})"
    )


def downgrade() -> None:
    op.drop_table("jobs")
