"""Notifications, and how people want to be told."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0022"
down_revision = "0021"

_USER = "NULLIF(current_setting('app.current_user', true), '')::uuid"
_TENANT = "NULLIF(current_setting('app.current_tenant', true), '')::uuid"
# Whoever tells a tenant's members asks how each of them wants to be told.
_MEMBER = f"""EXISTS (
    SELECT FROM user_tenant_associations member
    WHERE member.tenant_id = {_TENANT} AND member.user_id = notification_preferences.user_id
)"""


def upgrade() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", UUID(), primary_key=True),
        _user(),
        sa.Column("tenant_id", UUID()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        _time("read_at", nullable=True),
        _time("mailed_at", nullable=True),
        _active("read_at IS NULL"),
        _time("created_at"),
        _time("updated_at"),
    )
    op.create_index(
        "ix_notifications_listed",
        "notifications",
        ["user_id", "id"],
        postgresql_where=sa.text("listed"),
    )
    op.create_index(
        "ix_notifications_unread",
        "notifications",
        ["user_id", "id"],
        postgresql_where=sa.text("listed AND read_at IS NULL"),
    )
    op.create_index("ix_notifications_created_at", "notifications", ["created_at"])
    op.create_table(
        "notification_preferences",
        _user(primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("in_app", sa.Boolean(), nullable=False),
        sa.Column("mail", sa.Boolean(), nullable=False),
        _active("in_app OR mail"),
        _time("created_at"),
        _time("updated_at"),
    )
    _protect()


def _user(*, primary_key: bool = False) -> sa.Column:
    key = sa.ForeignKey("users.id", ondelete="CASCADE")
    return sa.Column("user_id", UUID(), key, nullable=False, primary_key=primary_key)


def _time(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _active(condition: str) -> sa.Column:
    return sa.Column("active", sa.Boolean(), sa.Computed(condition, persisted=True), nullable=False)


def _protect() -> None:
    """Row level security: people see and change their own; a tenant's session tells its members."""
    names = op.get_context().opts["installation"]
    mine = f"user_id = {_USER}"
    for table in ("notifications", "notification_preferences"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY platform ON {table} TO {names.platform} USING (true)")
    for action in ("SELECT", "UPDATE"):
        op.execute(
            f"CREATE POLICY {action.lower()}s ON notifications FOR {action} TO {names.app}"
            f" USING ({mine})"
        )
    op.execute(
        f"CREATE POLICY inserts ON notifications FOR INSERT TO {names.app}"
        f" WITH CHECK (tenant_id IS NOT DISTINCT FROM {_TENANT})"
    )
    op.execute(f"CREATE POLICY own ON notification_preferences TO {names.app} USING ({mine})")
    op.execute(
        f"CREATE POLICY members ON notification_preferences FOR SELECT TO {names.app}"
        f" USING ({_MEMBER})"
    )


def downgrade() -> None:
    op.drop_table("notification_preferences")
    op.drop_table("notifications")
