"""Jobs about keys."""

from datetime import timedelta

from app.core.db import platform_session
from app.core.tasks import periodic, task
from app.domains.idempotency import service
from app.tenancy.sessions import TenantSession


@periodic(name="idempotency.purge", every=timedelta(hours=1), queue="default", plane=None)
def purge() -> None:
    """Deletes the main database's expired keys."""
    with platform_session() as session:
        service.purge(session)


@task(name="idempotency.purge_tenant", queue="default")
def purge_tenant(session: TenantSession) -> None:
    """Deletes one tenant's expired keys."""
    service.purge(session)
