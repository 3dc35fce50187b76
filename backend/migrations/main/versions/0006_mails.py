"""Proven addresses, the tokens of mails, registrations and invitations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0006"
down_revision = "0005"

_TENANT = "NULLIF(current_setting('app.current_tenant', true), '')::uuid"

_INVITED_TO = """
CREATE FUNCTION invited_to(_token_hash bytea) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$ SELECT tenant_id FROM invitations WHERE token_hash = _token_hash $$
"""


def _time(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _active(condition: str) -> sa.Column:
    return sa.Column("active", sa.Boolean(), sa.Computed(condition, persisted=True), nullable=False)


def _user(name: str) -> sa.Column:
    return sa.Column(name, UUID(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False)


def upgrade() -> None:
    op.add_column("users", _time("email_verified_at", nullable=True))
    # Until now only operators made accounts, for people whom they know.
    op.execute("UPDATE users SET email_verified_at = created_at")
    _create_tokens_and_mails()
    _create_registrations()
    _create_invitations()
    names = op.get_context().opts["installation"]
    _protect_invitations(names.app, names.platform)
    op.execute(_INVITED_TO)
    op.execute(f"GRANT EXECUTE ON FUNCTION invited_to TO {names.app}")


def _create_tokens_and_mails() -> None:
    op.create_table(
        "account_tokens",
        sa.Column("token_hash", sa.LargeBinary(), primary_key=True),
        _user("user_id"),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        _time("expires_at"),
        _time("used_at", nullable=True),
        _active("used_at IS NULL"),
        _time("created_at"),
        _time("updated_at"),
        sa.CheckConstraint(
            "purpose IN ('verify_email', 'reset_password')", name="ck_account_tokens_purpose"
        ),
    )
    op.create_index("ix_account_tokens_user_id", "account_tokens", ["user_id"])
    op.create_table(
        "sent_mails",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        _time("created_at"),
    )
    op.create_index("ix_sent_mails_address", "sent_mails", ["address", "created_at"])


def _create_registrations() -> None:
    op.create_table(
        "registrations",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True)),
        sa.Column("tenant_name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary()),
        _time("expires_at"),
        _active("confirmed_at IS NULL"),
        _time("created_at"),
        _time("updated_at"),
        sa.UniqueConstraint("token_hash", name="uq_registrations_token_hash"),
    )


def _create_invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column(
            "tenant_id", UUID(), sa.ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        _user("invited_by"),
        sa.Column("token_hash", sa.LargeBinary()),
        _time("expires_at"),
        _time("sent_at", nullable=True),
        _time("accepted_at", nullable=True),
        _time("revoked_at", nullable=True),
        _active("accepted_at IS NULL AND revoked_at IS NULL"),
        _time("created_at"),
        _time("updated_at"),
        sa.UniqueConstraint("token_hash", name="uq_invitations_token_hash"),
        sa.CheckConstraint("email = lower(email)", name="ck_invitations_email_is_lower_case"),
        sa.CheckConstraint(
            "role IN ('owner', 'admin', 'user', 'viewer')", name="ck_invitations_role"
        ),
    )
    op.create_index("ix_invitations_tenant_id", "invitations", ["tenant_id", "id"])
    op.create_index(
        "uq_invitations_open",
        "invitations",
        ["tenant_id", "email"],
        unique=True,
        postgresql_where=sa.text("accepted_at IS NULL AND revoked_at IS NULL"),
    )


def _protect_invitations(app: str, platform: str) -> None:
    """Row level security: the application's role sees the rows of the current tenant."""
    mine = f"tenant_id = {_TENANT}"
    op.execute("ALTER TABLE invitations ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY platform ON invitations TO {platform} USING (true)")
    op.execute(f"CREATE POLICY own ON invitations TO {app} USING ({mine}) WITH CHECK ({mine})")


def downgrade() -> None:
    op.execute("DROP FUNCTION invited_to")
    for table in ("invitations", "registrations", "sent_mails", "account_tokens"):
        op.drop_table(table)
    op.drop_column("users", "email_verified_at")
