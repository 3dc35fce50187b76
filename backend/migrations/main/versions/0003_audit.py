"""The platform's audit trail: appended to by a function, changed by nobody."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0003"
down_revision = "0002"

_TENANT = "NULLIF(current_setting('app.current_tenant', true), '')::uuid"
_APPEND = """
CREATE FUNCTION audit_append(
    _id uuid, _type text, _target text, _user uuid, _session uuid,
    _address text, _request text, _task text, _details jsonb, _tenant uuid
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    INSERT INTO platform_audit_entries
        (id, recorded_at, type, target, user_id, session_id, address, request_id, task, details,
         tenant_id)
    VALUES (_id, clock_timestamp(), _type, _target, _user, _session, _address, _request, _task,
            _details, _tenant)
$$
"""


def upgrade() -> None:
    op.create_table(
        "platform_audit_entries",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("user_id", UUID()),
        sa.Column("session_id", UUID()),
        sa.Column("address", sa.Text()),
        sa.Column("request_id", sa.Text()),
        sa.Column("task", sa.Text()),
        sa.Column("details", JSONB(), nullable=False),
        sa.Column("tenant_id", UUID()),
    )
    op.create_index(
        "ix_platform_audit_entries_tenant_id", "platform_audit_entries", ["tenant_id", "id"]
    )
    names = op.get_context().opts["installation"]
    both = f"{names.app}, {names.platform}"
    op.execute(_APPEND)
    op.execute(f"REVOKE ALL ON platform_audit_entries FROM {both}")
    op.execute(f"GRANT SELECT ON platform_audit_entries TO {both}")
    op.execute(f"GRANT EXECUTE ON FUNCTION audit_append TO {both}")
    op.execute("ALTER TABLE platform_audit_entries ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY platform ON platform_audit_entries TO {names.platform} USING (true)")
    op.execute(
        f"CREATE POLICY reads ON platform_audit_entries FOR SELECT TO {names.app}"
        f" USING (tenant_id = {_TENANT})"
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION audit_append")
    op.drop_table("platform_audit_entries")
