"""Deletion with a period of grace, suspension with a reason, custom domains, inactive members.

``active`` becomes a column of every table: stored where nothing else says it, generated where
another column does (docs/decisions/0012).
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0005"
down_revision = "0004"

_TENANT = "NULLIF(current_setting('app.current_tenant', true), '')::uuid"
_USER = "NULLIF(current_setting('app.current_user', true), '')::uuid"
_MEMBERS = f"SELECT tenant_id FROM user_tenant_associations WHERE user_id = {_USER}"
_ADMINISTERS = f"""EXISTS (
    SELECT FROM users WHERE id = {_USER} AND platform_role = 'platform_admin' AND active
)"""

# What each table's row is active by.
_GENERATED = {
    "sessions": "revoked_at IS NULL",
    "refresh_tokens": "used_at IS NULL",
    "signing_keys": "state = 'active'",
    "jobs": "state IN ('waiting', 'running')",
    "tenants": "state = 'active'",
    "tenant_databases": "schema_revision IS NOT NULL",
}

_STATES = "'requested', 'creating', 'active', 'failed', 'suspended'"

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
    LEFT JOIN user_tenant_associations a
        ON a.user_id = u.id AND a.tenant_id = _tenant {member}
    LEFT JOIN tenants t
        ON t.id = CASE WHEN u.platform_role = 'platform_admin' THEN _tenant ELSE a.tenant_id END
        AND t.state <> '{gone}'
    LEFT JOIN tenant_databases d ON d.tenant_id = a.tenant_id
    WHERE s.id = _session AND s.revoked_at IS NULL AND s.expires_at > now()
$$
"""

# The tenant that a request names in up to three ways, and whether all of them name the same one.
# A host that is nobody's domain names none: the product may have addresses that it does not know.
_NAME_TENANT = """
CREATE FUNCTION name_tenant(_id uuid, _slug text, _domain text)
RETURNS TABLE (tenant_id uuid, agrees boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT chosen, (_slug IS NULL OR by_slug IS NOT DISTINCT FROM chosen)
        AND (by_domain IS NULL OR by_domain IS NOT DISTINCT FROM chosen)
    FROM (
        SELECT *, coalesce(_id, CASE WHEN _slug IS NULL THEN by_domain ELSE by_slug END) AS chosen
        FROM (
            SELECT
                (SELECT id FROM tenants WHERE slug = _slug AND state <> 'purged') AS by_slug,
                (SELECT d.tenant_id FROM tenant_domains d
                 WHERE d.domain = _domain AND d.verified_at IS NOT NULL) AS by_domain
        ) named
    ) choice
$$
"""

# Of all tenants, also those that row level security hides from the one who asks.
_COUNT_TENANTS = """
CREATE FUNCTION count_tenants() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$ SELECT count(*) FROM tenants WHERE state NOT IN ('deleted', 'purging', 'purged') $$
"""


def upgrade() -> None:
    names = op.get_context().opts["installation"]
    _change_states(f"{_STATES}, 'deleted', 'purging', 'purged'", "purged")
    for name, kind in (
        ("suspended_at", sa.DateTime(timezone=True)),
        ("suspension_reason", sa.Text()),
        ("purge_at", sa.DateTime(timezone=True)),
    ):
        op.add_column("tenants", sa.Column(name, kind))
    op.execute("UPDATE tenants SET suspended_at = updated_at WHERE state = 'suspended'")
    _add_active()
    _create_domains(names.app, names.platform)
    _see_tenants(names.app, f"id = {_TENANT} OR id IN ({_MEMBERS} AND active) OR {_ADMINISTERS}")
    op.execute(_RESOLVE_ACCESS.format(member="AND a.active", gone="purged"))
    op.execute(_NAME_TENANT)
    op.execute(_COUNT_TENANTS)
    op.execute(f"GRANT EXECUTE ON FUNCTION name_tenant, count_tenants TO {names.app}")


def _change_states(allowed: str, gone: str) -> None:
    for name in ("ck_tenants_state", "ck_tenants_ck_tenants_state"):  # as 0001 came to name it
        op.execute(f"ALTER TABLE tenants DROP CONSTRAINT IF EXISTS {name}")
    op.execute(
        """
        UPDATE tenants SET state = CASE state
            WHEN 'deleting' THEN 'purging' WHEN 'deleted' THEN 'purged' ELSE state END
        """
        if gone == "purged"
        else """
        UPDATE tenants SET state = CASE state
            WHEN 'purged' THEN 'deleted' WHEN 'purging' THEN 'deleting'
            WHEN 'deleted' THEN 'suspended' ELSE state END
        """
    )
    op.create_check_constraint(op.f("ck_tenants_state"), "tenants", f"state IN ({allowed})")
    # A slug is not reused while its database lives.
    op.drop_index("uq_tenants_slug")
    op.create_index(
        "uq_tenants_slug",
        "tenants",
        ["slug"],
        unique=True,
        postgresql_where=sa.text(f"state <> '{gone}'"),
    )


def _add_active() -> None:
    for table, expression in _GENERATED.items():
        op.add_column(
            table,
            sa.Column(
                "active", sa.Boolean(), sa.Computed(expression, persisted=True), nullable=False
            ),
        )
    op.add_column(
        "user_tenant_associations",
        sa.Column("active", sa.Boolean(), nullable=False, server_default=sa.true()),
    )
    op.add_column(
        "refresh_tokens",
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
    )
    op.execute("UPDATE refresh_tokens SET updated_at = coalesce(used_at, created_at)")


def _create_domains(app: str, platform: str) -> None:
    op.create_table(
        "tenant_domains",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("tenant_id", UUID(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("challenge", sa.Text(), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True)),
        sa.Column(
            "active",
            sa.Boolean(),
            sa.Computed("verified_at IS NOT NULL", persisted=True),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("tenant_id", "domain", name="uq_tenant_domains_tenant_id_domain"),
    )
    # Several may claim a domain; one proves it.
    op.create_index(
        "uq_tenant_domains_verified",
        "tenant_domains",
        ["domain"],
        unique=True,
        postgresql_where=sa.text("verified_at IS NOT NULL"),
    )
    op.execute("ALTER TABLE tenant_domains ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY platform ON tenant_domains TO {platform} USING (true)")
    op.execute(f"CREATE POLICY own ON tenant_domains TO {app} USING (tenant_id = {_TENANT})")


def _see_tenants(app: str, visible: str) -> None:
    op.execute("DROP POLICY reads ON tenants")
    op.execute(f"CREATE POLICY reads ON tenants FOR SELECT TO {app} USING ({visible})")


def downgrade() -> None:
    names = op.get_context().opts["installation"]
    op.execute("DROP FUNCTION count_tenants")
    op.execute("DROP FUNCTION name_tenant")
    op.execute(_RESOLVE_ACCESS.format(member="", gone="deleted"))
    _see_tenants(names.app, f"id = {_TENANT} OR id IN ({_MEMBERS})")
    op.drop_table("tenant_domains")
    op.drop_column("refresh_tokens", "updated_at")
    for table in ("user_tenant_associations", *_GENERATED):
        op.drop_column(table, "active")
    for name in ("purge_at", "suspension_reason", "suspended_at"):
        op.drop_column("tenants", name)
    _change_states(f"{_STATES}, 'deleting', 'deleted'", "deleted")
