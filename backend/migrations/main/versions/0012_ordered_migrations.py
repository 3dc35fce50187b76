"""Migrations of the fleet that a platform administrator orders, and what he or she sees of them."""

from alembic import op

revision = "0012"
down_revision = "0011"

_USER = "NULLIF(current_setting('app.current_user', true), '')::uuid"
_ADMINISTERS = f"""EXISTS (
    SELECT FROM users WHERE id = {_USER} AND platform_role = 'platform_admin' AND active
)"""
_ENDED = "'running', 'succeeded', 'failed', 'stopped', 'interrupted'"

# The ledger of all tenants without their logins; empty for everybody else.
_LIST_FLEET = f"""
CREATE FUNCTION list_fleet()
RETURNS TABLE (
    tenant_id uuid, slug text, state text, server text, database text, revision text, tags text[]
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT t.id, t.slug, t.state, d.server, d.database, d.schema_revision, d.tags
    FROM tenant_databases d JOIN tenants t ON t.id = d.tenant_id
    WHERE d.active AND {_ADMINISTERS}
      AND t.state NOT IN ('requested', 'creating', 'failed', 'purging', 'purged')
    ORDER BY t.id
$$
"""


def upgrade() -> None:
    app = op.get_context().opts["installation"].app
    _change_states(f"'requested', {_ENDED}", "status IN ('requested', 'running')")
    op.execute(
        "CREATE UNIQUE INDEX uq_migration_runs_requested ON migration_runs (status)"
        " WHERE status = 'requested'"
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON migration_runs TO {app}")
    op.execute(f"GRANT SELECT ON migration_results TO {app}")
    for table in ("migration_runs", "migration_results"):
        op.execute(
            f"CREATE POLICY administrators ON {table} FOR SELECT TO {app} USING ({_ADMINISTERS})"
        )
    # What an administrator may write is a wish; what became of it, only the platform's role.
    wish = f"status = 'requested' AND {_ADMINISTERS}"
    op.execute(f"CREATE POLICY orders ON migration_runs FOR INSERT TO {app} WITH CHECK ({wish})")
    op.execute(
        f"CREATE POLICY resumes ON migration_runs FOR UPDATE TO {app}"
        f" USING ({_ADMINISTERS}) WITH CHECK ({wish})"
    )
    op.execute(_LIST_FLEET)
    op.execute("REVOKE ALL ON FUNCTION list_fleet FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION list_fleet TO {app}")


def _change_states(allowed: str, active: str) -> None:
    op.execute("ALTER TABLE migration_runs DROP CONSTRAINT IF EXISTS ck_migration_runs_status")
    op.execute(
        "ALTER TABLE migration_runs"
        " DROP CONSTRAINT IF EXISTS ck_migration_runs_ck_migration_runs_status"
    )
    op.execute(
        "ALTER TABLE migration_runs ADD CONSTRAINT ck_migration_runs_status"
        f" CHECK (status IN ({allowed}))"
    )
    op.execute("ALTER TABLE migration_runs DROP COLUMN active")
    op.execute(
        "ALTER TABLE migration_runs ADD COLUMN active boolean NOT NULL"
        f" GENERATED ALWAYS AS ({active}) STORED"
    )


def downgrade() -> None:
    app = op.get_context().opts["installation"].app
    op.execute("DROP FUNCTION list_fleet")
    for table, policies in (
        ("migration_runs", ("administrators", "orders", "resumes")),
        ("migration_results", ("administrators",)),
    ):
        for policy in policies:
            op.execute(f"DROP POLICY {policy} ON {table}")
        op.execute(f"REVOKE ALL ON {table} FROM {app}")
    op.execute("DROP INDEX uq_migration_runs_requested")
    op.execute("UPDATE migration_runs SET status = 'interrupted' WHERE status = 'requested'")
    _change_states(_ENDED, "status = 'running'")
