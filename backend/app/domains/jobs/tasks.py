"""Jobs about jobs."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final, cast

from flask import current_app

from app.core.db import platform_session
from app.core.tasks import QUEUES, periodic
from app.domains.jobs.models import CANARY
from app.domains.jobs.service import canaries, records
from app.settings import Settings

_BATCH: Final = 1000


@periodic(name="jobs.purge", every=timedelta(hours=1), queue="default", plane=None)
def purge() -> None:
    """Deletes what was over long ago, in short transactions."""
    settings = cast("Settings", current_app.extensions["settings"])
    kept = timedelta(days=settings.job_retention_days)
    deleted = _BATCH
    while deleted == _BATCH:
        with platform_session() as session:
            deleted = records.purge(session, kept=kept, limit=_BATCH)


def canary_of(queue: str) -> Callable[[], None]:
    """The job that shows that the queue is worked at."""

    def note() -> None:
        with platform_session() as session:
            canaries.note(session, queue=queue)

    return note


for _queue in QUEUES:
    periodic(name=CANARY + _queue, every=canaries.EVERY, queue=_queue, plane=None)(
        canary_of(_queue)
    )
