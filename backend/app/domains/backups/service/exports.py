"""Exports that a tenant asks for: ordered over HTTP, made by a job, fetched by a signed link.

The row says how far it is. Its time begins when it is ordered: one whose job never ends is gone
with it, and so is the archive, which lies in the store as plain as the tenant's files.
"""

import logging
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.core import clock, events, ids
from app.core.caller import Caller
from app.core.db import MainSession, main_session, platform_session
from app.core.errors import AppError, NotFound, Unavailable
from app.core.pages import Cursors, Page, page_of
from app.core.tasks import TenantClosed
from app.domains.backups import queries
from app.domains.backups.errors import ExportInProgress, ExportNotFound, ExportNotReady
from app.domains.backups.events import ExportDeleted, ExportLinkCreated, ExportRequested
from app.domains.backups.models import Export, ExportState
from app.domains.backups.service import exporting
from app.domains.jobs import service as jobs
from app.domains.tenants.service import directory
from app.integrations.storage import Link, ObjectMissing, Storage
from app.integrations.storage.hashing import chunks_of
from app.settings import Settings
from app.tenancy.manager import TenantDatabaseManager

logger = logging.getLogger(__name__)

_TYPE: Final = "application/zip"


def request(session: MainSession, settings: Settings, *, caller: Caller, tenant_id: UUID) -> Export:
    """An export that a job will make.

    Raises:
        ExportInProgress: the tenant has one that is pending.
    """
    export = Export(
        id=ids.new_id(),
        tenant_id=tenant_id,
        requested_by=caller.user_id,
        expires_at=clock.now() + timedelta(hours=settings.export_keep_hours),
    )
    try:
        with session.begin_nested():
            session.add(export)
    except IntegrityError as error:
        raise ExportInProgress("An export of this tenant is being made.") from error
    jobs.schedule(session, "backups.export", tenant_id=tenant_id, export=str(export.id))
    events.record(session, ExportRequested(export_id=export.id, tenant_id=tenant_id))
    return export


def page(
    session: MainSession, *, tenant_id: UUID, cursors: Cursors, cursor: str | None, limit: int
) -> Page[Export]:
    """The tenant's exports, newest first."""
    before = None if cursor is None else cursors.load(cursor)
    rows = queries.exports(session, tenant_id=tenant_id, before=before, limit=limit + 1)
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda export: export.id)


def get(session: MainSession, *, tenant_id: UUID, export_id: UUID) -> Export:
    """Raises: ExportNotFound: the tenant has no such export, or its time is over."""
    export = queries.export_of(session, tenant_id=tenant_id, export_id=export_id)
    if export is None:
        raise ExportNotFound("There is no such export.")
    return export


def create_link(
    session: MainSession, storage: Storage, *, tenant_id: UUID, export_id: UUID, expires_in: int
) -> str:
    """An address that opens the archive for anybody, for ``expires_in`` seconds.

    Raises:
        ExportNotFound, ExportNotReady: there is no archive.
    """
    export = get(session, tenant_id=tenant_id, export_id=export_id)
    if export.state != ExportState.READY:
        raise ExportNotReady(f"The export is {export.state}.")
    slug = directory.slug_of(session, tenant_id=tenant_id)
    name = f"{slug}-{export.created_at:%Y-%m-%d}.zip"
    link = Link(export.key, name, _TYPE)
    events.record(
        session,
        ExportLinkCreated(export_id=export.id, tenant_id=tenant_id, expires_in=expires_in),
    )
    return storage.sign(link, expires_in=expires_in)


def follow_link(link: Link) -> None:
    """Lets a link of the disk store be followed.

    Raises:
        ObjectMissing: the export is deleted, or its time is over; or its tenant is not active.
    """
    tenant_id, export_id = (UUID(part) for part in link.key.split("/")[1:])
    try:
        directory.TenantRegistry().locate_ready(tenant_id)
        with main_session(tenant_id=tenant_id) as session:
            get(session, tenant_id=tenant_id, export_id=export_id)
    except (NotFound, TenantClosed):
        raise ObjectMissing("What this link opened is not there any more.") from None


def delete(session: MainSession, storage: Storage, *, tenant_id: UUID, export_id: UUID) -> None:
    """The archive and its row; links to it open nothing any more.

    Raises:
        ExportNotFound: the tenant has no such export.
        ExportInProgress: it is being made.
    """
    export = get(session, tenant_id=tenant_id, export_id=export_id)
    if export.state == ExportState.PENDING:
        raise ExportInProgress("The export is being made; delete it when that has ended.")
    storage.delete(export.key)
    session.delete(export)
    events.record(session, ExportDeleted(export_id=export_id, tenant_id=tenant_id))


def make(manager: TenantDatabaseManager, storage: Storage, *, export_id: UUID) -> None:
    """Makes the archive of an export that is pending; of any other, nothing.

    Raises:
        Unavailable: a server that is needed is away; it stays pending.
    """
    with platform_session() as session:
        export = queries.pending_export(session, export_id)
    if export is None:
        return
    try:
        size = _make(manager, storage, export)
    except Unavailable:
        raise
    except (AppError, OSError) as error:
        logger.exception("export failed", extra={"export": str(export_id)})
        _settle(export_id, ExportState.FAILED, failure=type(error).__name__)
    else:
        _settle(export_id, ExportState.READY, size=size)


def delete_overdue(storage: Storage) -> int:
    """Deletes what may be fetched no longer; how many."""
    with platform_session() as session:
        overdue = queries.overdue_exports(session)
    for export in overdue:
        storage.delete(export.key)
        with platform_session() as session:
            session.delete(session.merge(export, load=False))
    return len(overdue)


def _make(manager: TenantDatabaseManager, storage: Storage, export: Export) -> int:
    """The archive's size in the store, in bytes."""
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        path = Path(folder, "archive")
        exporting.export(manager, storage, tenant_id=export.tenant_id, path=path)
        with path.open("rb") as source:
            return storage.put(export.key, chunks_of(source)).size


def _settle(
    export_id: UUID, state: ExportState, *, size: int | None = None, failure: str | None = None
) -> None:
    with platform_session() as session:
        export = queries.pending_export(session, export_id)
        if export is not None:
            export.state, export.finished_at = state, clock.now()
            export.bytes, export.failure = size, failure
