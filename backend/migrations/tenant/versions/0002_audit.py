"""The tenant's audit trail: appended to by a function, changed by nobody."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0002"
down_revision = "0001"

_APPEND = """
CREATE FUNCTION audit_append(
    _id uuid, _type text, _target text, _user uuid, _session uuid,
    _address text, _request text, _task text, _details jsonb
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    INSERT INTO audit_entries
        (id, recorded_at, type, target, user_id, session_id, address, request_id, task, details)
    VALUES (_id, clock_timestamp(), _type, _target, _user, _session, _address, _request, _task,
            _details)
$$
"""


def upgrade() -> None:
    op.create_table(
        "audit_entries",
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
    )
    role = op.get_context().opts["installation"].tenant_rw
    op.execute(_APPEND)
    op.execute(f"REVOKE ALL ON audit_entries FROM {role}")
    op.execute(f"GRANT SELECT ON audit_entries TO {role}")
    op.execute(f"GRANT EXECUTE ON FUNCTION audit_append TO {role}")


def downgrade() -> None:
    op.execute("DROP FUNCTION audit_append")
    op.drop_table("audit_entries")
