"""Alembic's environment for the main database; Flask-Migrate calls it (``flask db …``)."""

from typing import Any

from alembic import context
from flask import current_app
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from app.core.db import MainModel
from app.tenancy.models import TenantModel
from app.tenancy.names import Installation, lock_key


def include_object(
    item: Any,
    name: str | None,
    kind: str,
    reflected: bool,
    _compare_to: Any,
) -> bool:
    """Keeps every table of the tenant plane out of the main database's migrations."""
    table = getattr(item, "table", item)
    if kind == "table" and name in TenantModel.metadata.tables:
        return (
            reflected
            and table.metadata is not TenantModel.metadata
            and name in (MainModel.metadata.tables)
        )
    return getattr(table, "metadata", None) is not TenantModel.metadata


def run() -> None:
    engine = create_engine(current_app.config["MAIN_OWNER_URL"], poolclass=NullPool)
    with engine.begin() as connection:
        # One migrator at a time; it waits for no lock of the application for long.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock_key('migrate')})")
        connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        context.configure(
            connection=connection,
            target_metadata=MainModel.metadata,
            include_object=include_object,
            compare_type=True,
            # Migrations read role names from here: op.get_context().opts["installation"].
            installation=Installation(current_app.config["INSTALLATION_ID"]),
        )
        context.run_migrations()
    engine.dispose()


run()
