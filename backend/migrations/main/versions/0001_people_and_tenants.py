"""People, their sessions, tenants, members, and the ledger of tenant databases."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0001"
down_revision = None

_TENANT = "NULLIF(current_setting('app.current_tenant', true), '')::uuid"
_USER = "NULLIF(current_setting('app.current_user', true), '')::uuid"

_RESOLVE_ACCESS = """
CREATE FUNCTION resolve_access(_session uuid, _tenant uuid)
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
    LEFT JOIN tenants t ON t.id = a.tenant_id AND t.state <> 'deleted'
    LEFT JOIN tenant_databases d ON d.tenant_id = t.id
    WHERE s.id = _session AND s.revoked_at IS NULL AND s.expires_at > now()
$$
"""


def _stamps() -> list[sa.Column]:
    return [
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    ]


def upgrade() -> None:
    _create_people()
    _create_tenants()
    names = op.get_context().opts["installation"]
    _protect(names.app, names.platform)
    op.execute(_RESOLVE_ACCESS)
    op.execute(f"GRANT EXECUTE ON FUNCTION resolve_access TO {names.app}")
    op.execute(f"REVOKE ALL ON alembic_version FROM {names.app}, {names.platform}")


def _create_people() -> None:
    op.create_table(
        "users",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text()),
        sa.Column("platform_role", sa.Text()),
        sa.Column("active", sa.Boolean(), nullable=False),
        *_stamps(),
        sa.UniqueConstraint("email", name="uq_users_email"),
        sa.CheckConstraint("email = lower(email)", name="ck_users_email_is_lower_case"),
        sa.CheckConstraint(
            "platform_role IN ('platform_admin', 'support_agent')", name="ck_users_platform_role"
        ),
    )
    op.create_table(
        "sessions",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("user_id", UUID(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("address", sa.Text()),
        sa.Column("user_agent", sa.Text()),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        *_stamps(),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_table(
        "refresh_tokens",
        sa.Column("token_hash", sa.LargeBinary(), primary_key=True),
        sa.Column(
            "session_id", UUID(), sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_refresh_tokens_session_id", "refresh_tokens", ["session_id"])
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text(), primary_key=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("sealed_private_key", sa.Text(), nullable=False),
        *_stamps(),
        sa.CheckConstraint("state IN ('next', 'active', 'retiring')", name="ck_signing_keys_state"),
    )
    op.create_index(
        "uq_signing_keys_active",
        "signing_keys",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state = 'active'"),
    )


def _create_tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text()),
        *_stamps(),
        sa.CheckConstraint(
            "state IN ('requested', 'creating', 'active', 'failed', 'suspended', 'deleting',"
            " 'deleted')",
            name="ck_tenants_state",
        ),
    )
    # A slug is not reused while its database lives.
    op.create_index(
        "uq_tenants_slug",
        "tenants",
        ["slug"],
        unique=True,
        postgresql_where=sa.text("state <> 'deleted'"),
    )
    op.create_table(
        "user_tenant_associations",
        sa.Column(
            "user_id", UUID(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column(
            "tenant_id", UUID(), sa.ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("role", sa.Text(), nullable=False),
        *_stamps(),
        sa.CheckConstraint(
            "role IN ('owner', 'admin', 'user', 'viewer')", name="ck_user_tenant_associations_role"
        ),
    )
    op.create_index(
        "ix_user_tenant_associations_tenant_id", "user_tenant_associations", ["tenant_id"]
    )
    op.create_table(
        "tenant_databases",
        sa.Column("tenant_id", UUID(), sa.ForeignKey("tenants.id"), primary_key=True),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("sealed_credentials", sa.Text(), nullable=False),
        sa.Column("schema_revision", sa.Text()),
        *_stamps(),
        sa.UniqueConstraint("database", name="uq_tenant_databases_database"),
    )


def _protect(app: str, platform: str) -> None:
    """Row level security: the application's role sees the rows of the current user and tenant."""
    members = "SELECT tenant_id FROM user_tenant_associations WHERE user_id = " + _USER
    visible = {
        "tenants": (f"id = {_TENANT} OR id IN ({members})", f"id = {_TENANT}"),
        "user_tenant_associations": (
            f"tenant_id = {_TENANT} OR user_id = {_USER}",
            f"tenant_id = {_TENANT}",
        ),
        "tenant_databases": (f"tenant_id = {_TENANT}", f"tenant_id = {_TENANT}"),
    }
    for table, (read, write) in visible.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY platform ON {table} TO {platform} USING (true)")
        op.execute(f"CREATE POLICY reads ON {table} FOR SELECT TO {app} USING ({read})")
        op.execute(f"CREATE POLICY inserts ON {table} FOR INSERT TO {app} WITH CHECK ({write})")
        op.execute(f"CREATE POLICY updates ON {table} FOR UPDATE TO {app} USING ({write})")
        op.execute(f"CREATE POLICY deletes ON {table} FOR DELETE TO {app} USING ({write})")


def downgrade() -> None:
    op.execute("DROP FUNCTION resolve_access(uuid, uuid)")
    op.execute("DROP POLICY reads ON tenants")  # it reads user_tenant_associations
    for table in (
        "tenant_databases",
        "user_tenant_associations",
        "tenants",
        "signing_keys",
        "refresh_tokens",
        "sessions",
        "users",
    ):
        op.drop_table(table)
