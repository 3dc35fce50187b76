"""Tenants that are read-only: by an administrator's word, or held for a moment."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_RESOLVE_ACCESS = """
CREATE FUNCTION resolve_access(_session uuid, _tenant uuid)
RETURNS TABLE (
    session_id uuid, user_id uuid, platform_role text,
    tenant_id uuid, tenant_state text, role text,
    server text, database text, sealed_credentials text, schema_revision text{columns}
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT s.id, u.id, u.platform_role, t.id, t.state, a.role,
           d.server, d.database, d.sealed_credentials, d.schema_revision{values}
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


def upgrade() -> None:
    op.add_column("tenants", sa.Column("read_only_since", sa.DateTime(timezone=True)))
    op.add_column("tenants", sa.Column("read_only_reason", sa.Text()))
    op.add_column("tenant_databases", sa.Column("held_until", sa.DateTime(timezone=True)))
    _replace(
        columns=", read_only boolean",
        values=",\n           t.read_only_since IS NOT NULL OR d.held_until IS NOT NULL",
    )


def _replace(*, columns: str, values: str) -> None:
    op.execute("DROP FUNCTION resolve_access")
    op.execute(_RESOLVE_ACCESS.format(columns=columns, values=values))
    names = op.get_context().opts["installation"]
    op.execute(f"GRANT EXECUTE ON FUNCTION resolve_access TO {names.app}")


def downgrade() -> None:
    _replace(columns="", values="")
    op.drop_column("tenant_databases", "held_until")
    op.drop_column("tenants", "read_only_reason")
    op.drop_column("tenants", "read_only_since")
