"""Single sign-on: a directory per tenant, people in it, and what authenticated a session."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

revision = "0018"
down_revision = "0017"

_TENANT = "NULLIF(current_setting('app.current_tenant', true), '')::uuid"
_USER = "NULLIF(current_setting('app.current_user', true), '')::uuid"

# A session opens a tenant by a password where the tenant takes passwords, or its user owns it; or
# by the tenant's own directory. Whoever came by a directory alone administers no platform.
_RESOLVE_ACCESS = """
CREATE FUNCTION resolve_access(_session uuid, _tenant uuid)
RETURNS TABLE (
    session_id uuid, user_id uuid, platform_role text,
    tenant_id uuid, tenant_state text, role text,
    server text, database text, sealed_credentials text, schema_revision text,
    read_only boolean, generation integer{columns}
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT s.id, u.id, {platform_role}, t.id, t.state, a.role,
           d.server, d.database, d.sealed_credentials, d.schema_revision,
           t.read_only_since IS NOT NULL OR d.held_until IS NOT NULL, d.generation{values}
    FROM sessions s
    JOIN users u ON u.id = s.user_id AND u.active
    LEFT JOIN user_tenant_associations a
        ON a.user_id = u.id AND a.tenant_id = _tenant AND a.active
    LEFT JOIN tenants t
        ON t.id = CASE WHEN {platform_role} = 'platform_admin' THEN _tenant ELSE a.tenant_id END
        AND t.state <> 'purged'
    LEFT JOIN tenant_databases d ON d.tenant_id = a.tenant_id
    WHERE s.id = _session AND s.revoked_at IS NULL AND s.expires_at > now()
$$
"""
_OPENS = """,
           (s.by_password AND (t.auth_method <> 'sso' OR a.role = 'owner'))
               OR (t.id = ANY (s.sso_tenant_ids) AND t.auth_method <> 'local'),
           t.auth_method"""
_PLATFORM_ROLE = "CASE WHEN s.by_password THEN u.platform_role END"

# The tenant that signs in people of an e-mail domain: one proves it, and names it for this.
_SSO_BY_DOMAIN = """
CREATE FUNCTION sso_by_domain(_domain text) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT d.tenant_id FROM tenant_domains d
    JOIN tenants t ON t.id = d.tenant_id AND t.state = 'active' AND t.auth_method <> 'local'
    JOIN tenant_sso_configs c ON c.tenant_id = d.tenant_id AND c.state = 'active'
    WHERE d.domain = _domain AND d.verified_at IS NOT NULL
        AND d.domain = ANY (t.sso_domain_whitelist)
$$
"""

# Sums over all tenants, which row level security hides.
_SSO_FIGURES = """
CREATE FUNCTION sso_figures() RETURNS TABLE (status text, identities bigint, soonest timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$ SELECT status, count(*), min(access_expires_at) FROM user_azure_identities GROUP BY status $$
"""


def _time(name: str, *, nullable: bool = True) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _stamps() -> list[sa.Column]:
    return [_time("created_at", nullable=False), _time("updated_at", nullable=False)]


def _tenant(table: str) -> sa.Column:
    name = f"fk_{table}_tenant_id_tenants"
    key = sa.ForeignKey("tenants.id", name=name, ondelete="CASCADE")
    return sa.Column("tenant_id", UUID(), key, nullable=False)


def _active(condition: str) -> sa.Column:
    return sa.Column("active", sa.Boolean(), sa.Computed(condition, persisted=True), nullable=False)


def upgrade() -> None:
    names = op.get_context().opts["installation"]
    _extend_people_and_tenants()
    _create_configs()
    _create_identities()
    _create_attempts()
    _protect(names.app, names.platform)
    op.execute(_SSO_BY_DOMAIN)
    op.execute(_SSO_FIGURES)
    op.execute("REVOKE ALL ON FUNCTION sso_by_domain, sso_figures FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION sso_by_domain, sso_figures TO {names.app}")
    _replace(
        platform_role=_PLATFORM_ROLE, columns=", opens boolean, auth_method text", values=_OPENS
    )


def _extend_people_and_tenants() -> None:
    op.add_column("users", sa.Column("sso_provider", sa.Text()))
    op.add_column(
        "sessions",
        sa.Column("by_password", sa.Boolean(), nullable=False, server_default=sa.true()),
    )
    op.add_column(
        "sessions",
        sa.Column("sso_tenant_ids", ARRAY(UUID()), nullable=False, server_default="{}"),
    )
    for column in (
        sa.Column("auth_method", sa.Text(), nullable=False, server_default="local"),
        sa.Column("sso_domain_whitelist", ARRAY(sa.Text()), nullable=False, server_default="{}"),
        sa.Column(
            "auto_provisioning_enabled", sa.Boolean(), nullable=False, server_default=sa.false()
        ),
        sa.Column("default_role", sa.Text()),
    ):
        op.add_column("tenants", column)
    op.create_check_constraint(
        op.f("ck_tenants_auth_method"), "tenants", "auth_method IN ('local', 'sso', 'both')"
    )
    op.create_check_constraint(
        op.f("ck_tenants_default_role"), "tenants", "default_role IN ('admin', 'user', 'viewer')"
    )


def _create_configs() -> None:
    op.create_table(
        "tenant_sso_configs",
        sa.Column("id", UUID(), primary_key=True),
        _tenant("tenant_sso_configs"),
        sa.Column("directory_id", UUID(), nullable=False),
        sa.Column("client_id", UUID(), nullable=False),
        sa.Column("sealed_client_secret", sa.Text()),
        sa.Column("sealed_certificate", sa.Text()),
        _time("credential_expires_at"),
        sa.Column("scopes", ARRAY(sa.Text()), nullable=False),
        sa.Column("group_roles", JSONB(), nullable=False),
        sa.Column("response_mode", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("failure", sa.Text()),
        _time("tested_at"),
        _time("activated_at"),
        _active("state = 'active'"),
        *_stamps(),
        sa.UniqueConstraint("tenant_id", name="uq_tenant_sso_configs_tenant_id"),
        sa.CheckConstraint(
            "state IN ('draft', 'tested', 'active')", name="ck_tenant_sso_configs_state"
        ),
        sa.CheckConstraint(
            "response_mode IN ('query', 'form_post')", name="ck_tenant_sso_configs_response_mode"
        ),
    )


def _create_identities() -> None:
    key = sa.ForeignKey(
        "users.id", name="fk_user_azure_identities_user_id_users", ondelete="CASCADE"
    )
    op.create_table(
        "user_azure_identities",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("user_id", UUID(), key, nullable=False),
        _tenant("user_azure_identities"),
        sa.Column("directory_id", UUID(), nullable=False),
        sa.Column("object_id", UUID(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("sealed_cache", sa.Text()),
        sa.Column("version", sa.Integer(), nullable=False),
        _time("access_expires_at"),
        _time("refresh_at"),
        _time("refreshing_until"),
        _time("last_refreshed_at"),
        _time("last_login_at"),
        sa.Column("claims_challenge", sa.Text()),
        _active("status = 'connected'"),
        *_stamps(),
        sa.UniqueConstraint(
            "tenant_id",
            "directory_id",
            "object_id",
            name="uq_user_azure_identities_tenant_id_directory_id_object_id",
        ),
        sa.UniqueConstraint(
            "tenant_id", "user_id", name="uq_user_azure_identities_tenant_id_user_id"
        ),
        sa.CheckConstraint(
            "status IN ('connected', 'step_up', 'expired', 'revoked')",
            name="ck_user_azure_identities_status",
        ),
    )
    op.create_index("ix_user_azure_identities_user_id", "user_azure_identities", ["user_id"])
    op.create_index(
        "ix_user_azure_identities_access_expires_at",
        "user_azure_identities",
        ["access_expires_at"],
        postgresql_where=sa.text("status = 'connected'"),
    )


def _create_attempts() -> None:
    op.create_table(
        "sso_attempts",
        sa.Column("id", UUID(), primary_key=True),
        _tenant("sso_attempts"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("aadsts", sa.Text()),
        sa.Column("account", sa.Text()),
        sa.Column("address", sa.Text()),
        _time("created_at", nullable=False),
    )
    op.create_index("ix_sso_attempts_tenant_id", "sso_attempts", ["tenant_id", "id"])
    op.create_table(
        "sso_refresh_totals",
        sa.Column("outcome", sa.Text(), primary_key=True),
        sa.Column("total", sa.BigInteger(), nullable=False),
    )


def _protect(app: str, platform: str) -> None:
    """Row level security: the application's role sees the rows of the current tenant."""
    mine = f"tenant_id = {_TENANT}"
    for table in ("tenant_sso_configs", "user_azure_identities", "sso_attempts"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY platform ON {table} TO {platform} USING (true)")
        op.execute(f"CREATE POLICY own ON {table} TO {app} USING ({mine}) WITH CHECK ({mine})")
    op.execute(
        f"CREATE POLICY person ON user_azure_identities FOR SELECT TO {app}"
        f" USING (user_id = {_USER})"
    )


def _replace(*, platform_role: str, columns: str, values: str) -> None:
    op.execute("DROP FUNCTION resolve_access")
    op.execute(_RESOLVE_ACCESS.format(platform_role=platform_role, columns=columns, values=values))
    names = op.get_context().opts["installation"]
    op.execute(f"GRANT EXECUTE ON FUNCTION resolve_access TO {names.app}")


def downgrade() -> None:
    _replace(platform_role="u.platform_role", columns="", values="")
    op.execute("DROP FUNCTION sso_figures()")
    op.execute("DROP FUNCTION sso_by_domain(text)")
    for table in (
        "sso_refresh_totals",
        "sso_attempts",
        "user_azure_identities",
        "tenant_sso_configs",
    ):
        op.drop_table(table)
    for column in (
        "default_role",
        "auto_provisioning_enabled",
        "sso_domain_whitelist",
        "auth_method",
    ):
        op.drop_column("tenants", column)
    op.drop_column("sessions", "sso_tenant_ids")
    op.drop_column("sessions", "by_password")
    op.drop_column("users", "sso_provider")
