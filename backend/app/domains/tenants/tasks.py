"""Jobs about tenants."""

from uuid import UUID

from app.core.tasks import task
from app.domains.tenants.service import deletion
from app.integrations.storage import current_storage
from app.tenancy.manager import current_manager


@task(name="tenants.finish", queue="default", plane=None)
def finish_tenant(tenant: str) -> None:
    """Does what a tenant's state asks for: what a dead process left, or what is due by now."""
    deletion.finish(current_manager(), current_storage(), tenant_id=UUID(tenant))
