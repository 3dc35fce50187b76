"""Backups and proofs that are ordered over HTTP, and made by a job."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.core import clock, events, ids
from app.core.db import MainSession
from app.core.pages import Cursors, Page, page_of
from app.domains.backups import queries
from app.domains.backups.errors import BackupInProgress, BackupKeysMissing, BackupNotFound
from app.domains.backups.events import BackupProofRequested, BackupRequested
from app.domains.backups.models import Backup, BackupState
from app.domains.jobs import service as jobs
from app.settings import Settings

# A job is given up before; one that begins later all the same is not hindered.
_JOB_IS_OVER: Final = timedelta(hours=3)


def page(
    session: MainSession, *, tenant_id: UUID, cursors: Cursors, cursor: str | None, limit: int
) -> Page[Backup]:
    """The tenant's backups, newest first."""
    before = None if cursor is None else cursors.load(cursor)
    rows = queries.page(session, tenant_id=tenant_id, before=before, limit=limit + 1)
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda backup: backup.id)


def get(session: MainSession, *, tenant_id: UUID, backup_id: UUID) -> Backup:
    """Raises: BackupNotFound: the tenant has no such backup."""
    backup = queries.of_tenant(session, tenant_id=tenant_id, backup_id=backup_id)
    if backup is None:
        raise BackupNotFound("There is no such backup.")
    return backup


def order(session: MainSession, settings: Settings, *, tenant_id: UUID) -> Backup:
    """A backup that a job will take.

    Raises:
        BackupKeysMissing: nothing could be sealed.
        BackupInProgress: one that was ordered has not begun.
    """
    _require_keys(settings)
    backup = Backup(
        id=ids.new_id(), tenant_id=tenant_id, origin="asked", state=BackupState.REQUESTED
    )
    try:
        with session.begin_nested():
            session.add(backup)
    except IntegrityError as error:
        raise BackupInProgress("A backup of this tenant has been ordered already.") from error
    jobs.schedule(
        session, "backups.take", tenant_id=tenant_id, tenant=str(tenant_id), backup=str(backup.id)
    )
    events.record(session, BackupRequested(backup_id=backup.id, tenant_id=tenant_id))
    return backup


def order_proof(
    session: MainSession, settings: Settings, *, tenant_id: UUID, backup_id: UUID
) -> Backup:
    """Has a job restore the backup for a test; the backup tells what came of it.

    Raises:
        BackupNotFound: there is none, or it was not taken to its end.
        BackupKeysMissing: nothing could be opened.
    """
    _require_keys(settings)
    backup = get(session, tenant_id=tenant_id, backup_id=backup_id)
    if backup.state != BackupState.COMPLETE:
        raise BackupNotFound(f"The backup is {backup.state}.")
    jobs.schedule(
        session, "backups.prove", tenant_id=tenant_id, tenant=str(tenant_id), backup=str(backup_id)
    )
    events.record(session, BackupProofRequested(backup_id=backup_id, tenant_id=tenant_id))
    return backup


def give_up_lost(session: MainSession) -> int:
    """Marks what was ordered and never begun, with the platform's session; how many."""
    lost = queries.requested(session, before=clock.now() - _JOB_IS_OVER)
    for backup in lost:
        backup.state, backup.finished_at = BackupState.FAILED, clock.now()
        backup.failure = "its job did not begin it"
    return len(lost)


def _require_keys(settings: Settings) -> None:
    if not settings.backup_keys:
        raise BackupKeysMissing("Backups are sealed with BACKUP_KEYS, which is not set.")
