"""Jobs about backups and exports."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from app.core.db import platform_session
from app.core.tasks import periodic, task
from app.domains.backups.service import cloning, exports, ordering, restoring, taking, upkeep
from app.integrations.storage import current_storage
from app.settings import current_settings
from app.tenancy.manager import current_manager

# They copy all that a tenant has.
_LIMIT: Final = timedelta(minutes=55)


@task(name="backups.take", queue="fleet", plane=None, limit=_LIMIT)
def take_backup(tenant: str, backup: str | None = None) -> None:
    """Takes one tenant's backup that is due, or the one that was ordered."""
    taking.take(
        current_manager(),
        current_storage(),
        current_settings(),
        tenant_id=UUID(tenant),
        backup_id=None if backup is None else UUID(backup),
        scheduled=backup is None,
    )


@task(name="backups.prove", queue="fleet", plane=None, limit=_LIMIT)
def prove_backup(tenant: str, backup: str | None = None) -> None:
    """Restores one tenant's newest backup, or the one given, for a test, and keeps the outcome."""
    restoring.prove(
        current_manager(),
        current_storage(),
        current_settings(),
        tenant_id=UUID(tenant),
        backup_id=None if backup is None else UUID(backup),
    )


@task(name="backups.export", queue="fleet", plane=None, limit=_LIMIT)
def make_export(export: str) -> None:
    """Writes the archive that a tenant asked for."""
    exports.make(current_manager(), current_storage(), export_id=UUID(export))


@task(name="backups.fill_sandbox", queue="fleet", plane=None, limit=_LIMIT)
def fill_sandbox(sandbox: str) -> None:
    """Copies a tenant's rows and files into its sandbox."""
    cloning.fill(current_manager(), current_storage(), current_settings(), tenant_id=UUID(sandbox))


@periodic(name="backups.schedule", every=timedelta(hours=1), queue="fleet", plane=None)
def schedule_backups() -> None:
    """Asks for each backup and each test that is due, one job for each tenant."""
    with platform_session() as session:
        upkeep.schedule(session, current_settings())


@periodic(name="backups.clear_up", every=timedelta(hours=1), queue="fleet", plane=None)
def clear_up() -> None:
    """Deletes what is kept no longer, and what dead processes left."""
    storage, settings = current_storage(), current_settings()
    upkeep.clear_up(current_manager(), storage, settings)
    exports.delete_overdue(storage)
    with platform_session() as session:
        ordering.give_up_lost(session)
    if settings.backup_keys:
        upkeep.delete_expired(storage, settings)
