"""How much work is due or was given up: sums that the application's role may know."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_BACKLOG = """
CREATE FUNCTION job_backlog()
RETURNS TABLE (due bigint, failed bigint, oldest_due_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT count(*) FILTER (WHERE state <> 'failed'),
           count(*) FILTER (WHERE state = 'failed'),
           coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE state <> 'failed')), 0)
    FROM jobs
    WHERE state = 'failed' OR (state IN ('waiting', 'running') AND due_at <= now())
$$
"""


def upgrade() -> None:
    names = op.get_context().opts["installation"]
    op.execute(_BACKLOG)
    op.execute("REVOKE ALL ON FUNCTION job_backlog FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION job_backlog TO {names.app}")
    # Failed jobs stay until somebody drops them; those that are done are purged later.
    op.create_index("ix_jobs_failed", "jobs", ["id"], postgresql_where=sa.text("state = 'failed'"))


def downgrade() -> None:
    op.drop_index("ix_jobs_failed", "jobs")
    op.execute("DROP FUNCTION job_backlog()")
