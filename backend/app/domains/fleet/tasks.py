"""Jobs about the fleet."""

from uuid import UUID

from app.core.tasks import task
from app.domains.fleet.service import ordering
from app.tenancy.manager import current_manager


@task(name="fleet.migrate", queue="fleet", plane=None)
def migrate_fleet(run: str) -> None:
    """Carries out, for some minutes, a migration that an administrator has ordered."""
    ordering.carry_on(current_manager(), run_id=UUID(run))
