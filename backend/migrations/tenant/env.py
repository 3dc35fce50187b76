"""Alembic's environment for one tenant's database; app.tenancy.migrations calls it."""

from alembic import context

from app.tenancy.models import TenantModel

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=TenantModel.metadata,
    # Migrations read role names from here: op.get_context().opts["installation"].
    installation=context.config.attributes["installation"],
)
context.run_migrations()
