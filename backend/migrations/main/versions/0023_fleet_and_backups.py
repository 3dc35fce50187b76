"""Tenants that a migration of the fleet did not reach; backups that are ordered over HTTP."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

_TENANT = "NULLIF(current_setting('app.current_tenant', true), '')::uuid"


def upgrade() -> None:
    names = op.get_context().opts["installation"]
    _allow("migration_results", "status", "pending", "succeeded", "failed", "unreached", "gone")
    _allow("backups", "state", "requested", "running", "complete", "failed")
    op.create_index(
        "uq_backups_requested",
        "backups",
        ["tenant_id"],
        unique=True,
        postgresql_where=sa.text("state = 'requested'"),
    )
    op.execute(f"GRANT SELECT, INSERT ON backups TO {names.app}")
    op.execute(
        f"CREATE POLICY own ON backups FOR SELECT TO {names.app} USING (tenant_id = {_TENANT})"
    )
    op.execute(
        f"CREATE POLICY ordered ON backups FOR INSERT TO {names.app}"
        f" WITH CHECK (tenant_id = {_TENANT} AND state = 'requested' AND origin = 'asked')"
    )


def downgrade() -> None:
    names = op.get_context().opts["installation"]
    op.execute("DROP POLICY ordered ON backups")
    op.execute("DROP POLICY own ON backups")
    op.execute(f"REVOKE ALL ON backups FROM {names.app}")
    op.drop_index("uq_backups_requested")
    op.execute("DELETE FROM backups WHERE state = 'requested'")
    _allow("backups", "state", "running", "complete", "failed")
    op.execute("UPDATE migration_results SET status = 'failed' WHERE status = 'unreached'")
    _allow("migration_results", "status", "pending", "succeeded", "failed", "gone")


def _allow(table: str, column: str, *values: str) -> None:
    name = f"ck_{table}_{column}"
    listed = ", ".join(f"'{value}'" for value in values)
    # The first of them got the convention's prefix twice.
    for each in (f"ck_{table}_{name}", name):
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {each}")
    op.create_check_constraint(op.f(name), table, f"{column} IN ({listed})")
