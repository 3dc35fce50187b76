"""Jobs about what was sent and handled long ago."""

from datetime import timedelta
from typing import Final

from app.core.db import PlaneSession, platform_session
from app.core.tasks import periodic, task
from app.domains.outbox import queries
from app.settings import current_settings
from app.tenancy.sessions import TenantSession

_BATCH: Final = 5000


def _kept() -> timedelta:
    return timedelta(days=current_settings().outbox_retention_days)


@periodic(name="outbox.purge", every=timedelta(hours=1), queue="default", plane=None)
def purge() -> None:
    """Deletes what was sent and handled long ago of the main database, in short transactions."""
    while True:
        with platform_session() as session:
            if queries.purge_sent(session, kept=_kept(), limit=_BATCH) < _BATCH:
                return


@task(name="outbox.purge_tenant", queue="default")
def purge_tenant(session: TenantSession) -> None:
    """The same in one tenant; a relay asks for it on each day that the tenant told something."""
    _purge_all(session)


def _purge_all(session: PlaneSession) -> None:
    while queries.purge_sent(session, kept=_kept(), limit=_BATCH) == _BATCH:
        pass
