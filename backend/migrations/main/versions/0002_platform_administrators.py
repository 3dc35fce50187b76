"""Platform administrators see every tenant, and not where its data lies."""

from alembic import op

revision = "0002"
down_revision = "0001"

_RESOLVE_ACCESS = """
CREATE OR REPLACE FUNCTION resolve_access(_session uuid, _tenant uuid)
RETURNS TABLE (
    session_id uuid, user_id uuid, platform_role text,
    tenant_id uuid, tenant_state text, role text,
    server text, database text, sealed_credentials text, schema_revision text
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT s.id, u.id, u.platform_role, t.id, t.state, a.role,
           d.server, d.database, d.sealed_credentials, d.schema_revision
    FROM sessions s
    JOIN users u ON u.id = s.user_id AND u.active
    LEFT JOIN user_tenant_associations a ON a.user_id = u.id AND a.tenant_id = _tenant
    LEFT JOIN tenants t ON t.id = {tenant} AND t.state <> 'deleted'
    LEFT JOIN tenant_databases d ON d.tenant_id = a.tenant_id
    WHERE s.id = _session AND s.revoked_at IS NULL AND s.expires_at > now()
$$
"""


def upgrade() -> None:
    for_administrators = (
        "CASE WHEN u.platform_role = 'platform_admin' THEN _tenant ELSE a.tenant_id END"
    )
    op.execute(_RESOLVE_ACCESS.format(tenant=for_administrators))


def downgrade() -> None:
    op.execute(_RESOLVE_ACCESS.format(tenant="a.tenant_id"))
