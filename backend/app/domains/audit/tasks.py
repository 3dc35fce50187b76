"""Jobs that seal the trails."""

from datetime import timedelta
from uuid import UUID

from app.core.tasks import periodic, task
from app.domains.audit.service import sealing
from app.integrations.storage import current_storage
from app.settings import current_settings
from app.tenancy.manager import current_manager


@task(name="audit.seal", queue="default", plane=None)
def seal(tenant: str) -> None:
    """Seals one tenant's trail; asked for by what is recorded in it."""
    sealing.seal_tenant(current_manager(), current_settings(), tenant_id=UUID(tenant))


@periodic(name="audit.seal_platform", every=timedelta(minutes=1), queue="default", plane=None)
def seal_platform() -> None:
    """Seals the platform's own trail."""
    sealing.seal_platform(current_storage(), current_settings())
