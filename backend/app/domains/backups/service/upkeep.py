"""What happens to backups by themselves: they are taken, proven, and deleted in the end."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete

from app.core import clock, events
from app.core.db import MainSession, platform_session
from app.domains.backups import queries
from app.domains.backups.errors import BackupInProgress
from app.domains.backups.events import BackupDeleted
from app.domains.backups.models import Backup
from app.domains.backups.service.archive import archive_of
from app.domains.backups.service.taking import claimed, tidy
from app.domains.jobs import service as jobs
from app.domains.tenants.service import kept, ledger
from app.integrations.storage import Storage
from app.settings import Settings
from app.tenancy.manager import TenantDatabaseManager

# One job for each tenant and slot: a round that comes again while a backup waits asks for none.
_SLOT: Final = timedelta(hours=1)


def schedule(session: MainSession, settings: Settings) -> int:
    """Asks for the backups and proofs that are due, with the platform's session; how many jobs."""
    if settings.backup_every_hours is None or not settings.backup_keys:
        return 0
    now = clock.now()
    since = now - timedelta(hours=settings.backup_every_hours)
    proven_since = now - timedelta(days=settings.backup_prove_days)
    newest = queries.newest_of_all(session)
    asked = 0
    for entry in ledger.with_database(session):
        backup = newest.get(entry.tenant_id)
        if backup is None or backup.created_at <= since:
            asked += _ask(session, "backups.take", entry.tenant_id)
        if backup is not None and (entry.proven_at is None or entry.proven_at <= proven_since):
            asked += _ask(session, "backups.prove", entry.tenant_id)
    return asked


def delete_expired(storage: Storage, settings: Settings) -> int:
    """Deletes the backups whose time is over, but each tenant's newest; how many."""
    before = clock.now() - timedelta(days=settings.backup_keep_days)
    with platform_session() as session:
        expired = queries.expired(session, before=before)
    for backup in expired:
        archive_of(settings, storage, tenant_id=backup.tenant_id, backup_id=backup.id).erase()
        with platform_session() as session:
            session.execute(delete(Backup).where(Backup.id == backup.id))
            deleted = BackupDeleted(backup_id=backup.id, tenant_id=backup.tenant_id)
            events.record(session, deleted)
    return len(expired)


def clear_up(manager: TenantDatabaseManager, storage: Storage, settings: Settings) -> int:
    """What dead processes left at any tenant, and databases whose time is over; how much."""
    with platform_session() as session:
        tenants = {backup.tenant_id for backup in queries.running(session)}
        tenants |= kept.unfinished(session)
    cleared = 0
    for tenant_id in tenants:
        try:
            with claimed(manager, tenant_id):
                cleared += tidy(manager, storage, settings, tenant_id=tenant_id)
        except BackupInProgress:
            continue  # its process lives
    return cleared + kept.drop_overdue(manager, storage)


def list_backups(session: MainSession, *, tenant_id: UUID | None) -> Sequence[Backup]:
    """The newest first, with the platform's session."""
    return queries.backups(session, tenant_id=tenant_id)


def _ask(session: MainSession, name: str, tenant_id: UUID) -> bool:
    slot = str(clock.now().timestamp() // _SLOT.total_seconds())
    return jobs.schedule_once(session, name, slot=slot, tenant_id=tenant_id, tenant=str(tenant_id))
