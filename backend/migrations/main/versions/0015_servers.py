"""Several PostgreSQL servers for tenants' databases, and moves between them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0015"
down_revision = "0014"

_RESOLVE_ACCESS = """
CREATE FUNCTION resolve_access(_session uuid, _tenant uuid)
RETURNS TABLE (
    session_id uuid, user_id uuid, platform_role text,
    tenant_id uuid, tenant_state text, role text,
    server text, database text, sealed_credentials text, schema_revision text,
    read_only boolean{columns}
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT s.id, u.id, u.platform_role, t.id, t.state, a.role,
           d.server, d.database, d.sealed_credentials, d.schema_revision,
           t.read_only_since IS NOT NULL OR d.held_until IS NOT NULL{values}
    FROM sessions s
    JOIN users u ON u.id = s.user_id AND u.active
    LEFT JOIN user_tenant_associations a
        ON a.user_id = u.id AND a.tenant_id = _tenant AND a.active
    LEFT JOIN tenants t
        ON t.id = CASE WHEN u.platform_role = 'platform_admin' THEN _tenant ELSE a.tenant_id END
        AND t.state <> 'purged'
    LEFT JOIN tenant_databases d ON d.tenant_id = a.tenant_id
    WHERE s.id = _session AND s.revoked_at IS NULL AND s.expires_at > now()
$$
"""

# How full each server is: sums over all tenants, which row level security hides.
_SERVER_LOADS = """
CREATE FUNCTION server_loads()
RETURNS TABLE (name text, region text, capacity integer, active boolean, tenants bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT s.name, s.region, s.capacity, s.active,
           (SELECT count(*) FROM tenant_databases d WHERE d.server = s.name)
    FROM (
        SELECT name, region, capacity, active FROM tenant_servers
        UNION ALL
        SELECT 'default', NULL, NULL, true
        WHERE NOT EXISTS (SELECT FROM tenant_servers WHERE name = 'default')
    ) s
$$
"""


def upgrade() -> None:
    names = op.get_context().opts["installation"]
    op.add_column(
        "tenant_databases",
        sa.Column("generation", sa.Integer(), nullable=False, server_default="0"),
    )
    op.create_index("ix_tenant_databases_server", "tenant_databases", ["server"])
    _create_servers()
    _create_moves()
    op.execute("ALTER TABLE tenant_servers ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY platform ON tenant_servers TO {names.platform} USING (true)")
    # Every process connects to them.
    op.execute(f"CREATE POLICY reads ON tenant_servers FOR SELECT TO {names.app} USING (true)")
    op.execute(f"REVOKE INSERT, UPDATE, DELETE ON tenant_servers FROM {names.app}")
    op.execute("ALTER TABLE tenant_moves ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY platform ON tenant_moves TO {names.platform} USING (true)")
    op.execute(f"REVOKE ALL ON tenant_moves FROM {names.app}")
    op.execute(_SERVER_LOADS)
    op.execute("REVOKE ALL ON FUNCTION server_loads FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION server_loads TO {names.app}, {names.platform}")
    _replace(columns=", generation integer", values=", d.generation")


def _create_servers() -> None:
    op.create_table(
        "tenant_servers",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("sealed_url", sa.Text()),
        sa.Column("region", sa.Text()),
        sa.Column("capacity", sa.Integer()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "active",
            sa.Boolean(),
            sa.Computed("state = 'active'", persisted=True),
            nullable=False,
        ),
        sa.UniqueConstraint("name", name="uq_tenant_servers_name"),
        sa.CheckConstraint("state IN ('active', 'draining')", name="ck_tenant_servers_state"),
        sa.CheckConstraint("capacity >= 0", name="ck_tenant_servers_capacity"),
        sa.CheckConstraint(
            "(name = 'default') = (sealed_url IS NULL)", name="ck_tenant_servers_sealed_url"
        ),
    )


def _create_moves() -> None:
    op.create_table(
        "tenant_moves",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("tenant_id", UUID(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("verified", JSONB()),
        sa.Column("read_only_seconds", sa.Float()),
        sa.Column("held_until", sa.DateTime(timezone=True)),
        sa.Column("failure", sa.Text()),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "active",
            sa.Boolean(),
            sa.Computed("step IN ('copying', 'switched')", persisted=True),
            nullable=False,
        ),
        sa.CheckConstraint(
            "step IN ('copying', 'switched', 'done', 'failed')", name="ck_tenant_moves_step"
        ),
    )
    op.create_index(
        "uq_tenant_moves_active",
        "tenant_moves",
        ["tenant_id"],
        unique=True,
        postgresql_where=sa.text("step IN ('copying', 'switched')"),
    )


def _replace(*, columns: str, values: str) -> None:
    op.execute("DROP FUNCTION resolve_access")
    op.execute(_RESOLVE_ACCESS.format(columns=columns, values=values))
    names = op.get_context().opts["installation"]
    op.execute(f"GRANT EXECUTE ON FUNCTION resolve_access TO {names.app}")


def downgrade() -> None:
    _replace(columns="", values="")
    op.execute("DROP FUNCTION server_loads()")
    op.drop_table("tenant_moves")
    op.drop_table("tenant_servers")
    op.drop_index("ix_tenant_databases_server", "tenant_databases")
    op.drop_column("tenant_databases", "generation")
