"""What a tenant's role may do while the tenant is read-only: read every row, change none.

A function that reads need is granted to both groups, as ``name_parts`` is.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
code_can_wait = True


def upgrade() -> None:
    readers = op.get_context().opts["installation"].tenant_ro
    op.execute(f"GRANT USAGE ON SCHEMA public TO {readers}")
    op.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {readers}")
    op.execute(f"REVOKE ALL ON alembic_version FROM {readers}")
    op.execute(f"GRANT EXECUTE ON FUNCTION name_parts TO {readers}")
    op.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {readers}")


def downgrade() -> None:
    readers = op.get_context().opts["installation"].tenant_ro
    op.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM {readers}")
    op.execute(f"REVOKE EXECUTE ON FUNCTION name_parts FROM {readers}")
    op.execute(f"REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM {readers}")
    op.execute(f"REVOKE USAGE ON SCHEMA public FROM {readers}")
