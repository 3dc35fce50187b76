"""Jobs about documents."""

from uuid import UUID

from app.core.tasks import task
from app.domains.documents import service
from app.integrations.storage import current_storage
from app.tenancy.sessions import TenantSession


@task(name="documents.erase_file", queue="documents")
def erase_file(session: TenantSession, file_id: str) -> None:
    """Deletes the bytes of a file that no document names any more."""
    service.erase_file(session, current_storage(), file_id=UUID(file_id))


@task(name="documents.sweep_files", queue="documents")
def sweep_files(session: TenantSession) -> None:
    """Erases what failed uploads and lost jobs left behind in one tenant."""
    service.sweep_files(session, current_storage())
