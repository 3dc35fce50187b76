"""How the fleet stands: sums that the application's role may know."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

# Each row is a figure, what it is of, and its value.
_FIGURES = """
CREATE FUNCTION fleet_figures()
RETURNS TABLE (figure text, label text, value double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT 'tenants', state, count(*) FROM tenants GROUP BY state
    UNION ALL
    SELECT 'schemas', schema_revision, count(*) FROM tenant_databases
    WHERE schema_revision IS NOT NULL GROUP BY schema_revision
    UNION ALL
    SELECT 'migrated', status, count(*) FROM migration_results
    WHERE run_id = (SELECT id FROM migration_runs ORDER BY id DESC LIMIT 1) GROUP BY status
    UNION ALL
    SELECT 'backup_age', NULL,
           coalesce(max(extract(epoch FROM now() - coalesce(last_backup_at, created_at))), 0)
    FROM tenants WHERE state = 'active'
    UNION ALL
    SELECT 'backups_failed', NULL, count(*) FROM backups
    WHERE state = 'failed' AND finished_at > now() - interval '1 day'
    UNION ALL
    SELECT 'unsent_age', NULL, coalesce(max(extract(epoch FROM now() - recorded_at)), 0)
    FROM platform_outbox WHERE sent_at IS NULL
$$
"""


def upgrade() -> None:
    names = op.get_context().opts["installation"]
    op.create_index(
        "ix_backups_failed",
        "backups",
        ["finished_at"],
        postgresql_where=sa.text("state = 'failed'"),
    )
    op.execute(_FIGURES)
    op.execute("REVOKE ALL ON FUNCTION fleet_figures FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION fleet_figures TO {names.app}")


def downgrade() -> None:
    op.execute("DROP FUNCTION fleet_figures()")
    op.drop_index("ix_backups_failed", "backups")
