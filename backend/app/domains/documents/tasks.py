"""Jobs about documents."""

from functools import partial
from uuid import UUID

from flask import current_app

from app.core.tasks import task
from app.domains.documents.service import files, processing, trash, uploads
from app.integrations.extraction import Limits
from app.integrations.storage import current_storage
from app.settings import current_settings
from app.tenancy.manager import current_manager
from app.tenancy.sessions import TenantSession


@task(name="documents.erase_file", queue="documents")
def erase_file(session: TenantSession, file_id: str) -> None:
    """Deletes the bytes of a file that no document names any more."""
    files.erase_file(session, current_storage(), file_id=UUID(file_id))


@task(name="documents.sweep_files", queue="documents")
def sweep_files(session: TenantSession) -> None:
    """Erases what failed uploads, expired ones and lost jobs left behind in one tenant."""
    files.sweep_files(session, current_storage())
    uploads.sweep_uploads(session, current_storage())


@task(name="documents.purge_trash", queue="documents")
def purge_trash(session: TenantSession) -> None:
    """Purges what has been in one tenant's trash for TRASH_DAYS."""
    trash.purge_old(session, days=current_app.config["TRASH_DAYS"])


@task(name="documents.verify_upload", queue="documents")
def verify_upload(session: TenantSession, upload_id: str) -> None:
    """Reads what arrived directly in the store, and makes the document."""
    # Short sessions of its own: none is open while the bytes are read.
    open_session = partial(current_manager().tenant_db_session, session.location)
    uploads.verify_in_background(open_session, current_storage(), upload_id=UUID(upload_id))


@task(name="documents.process_file", queue="documents")
def process_file(session: TenantSession, file_id: str) -> None:
    """Looks into a stored file: whether it is whole, what it is, and which text it holds."""
    settings = current_settings()
    open_session = partial(current_manager().tenant_db_session, session.location)
    processing.process_file(
        open_session,
        current_storage(),
        file_id=UUID(file_id),
        largest=settings.extraction_bytes,
        limits=Limits(
            seconds=settings.extraction_seconds,
            memory_bytes=settings.extraction_memory_bytes,
            characters=settings.extraction_characters,
        ),
    )
