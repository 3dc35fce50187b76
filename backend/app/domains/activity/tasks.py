"""The job that forgets."""

from datetime import timedelta

from app.core.tasks import task
from app.domains.activity import service
from app.settings import current_settings
from app.tenancy.sessions import TenantSession


@task(name="activity.purge", queue="default")
def purge(session: TenantSession) -> None:
    """Deletes what happened in one tenant ACTIVITY_RETENTION_DAYS ago; asked for month by month."""
    service.purge(session, kept=timedelta(days=current_settings().activity_retention_days))
