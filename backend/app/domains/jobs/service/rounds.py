"""What the scheduler does in each of its rounds; any number of schedulers may run at once."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func

from app.core import clock
from app.core.db import platform_session
from app.core.tasks import PERIODIC, QUEUES, BrokerAway, hint, messages_in
from app.domains.jobs import queries, service
from app.settings import Settings

logger = logging.getLogger(__name__)

# The table is the queue: Redis holds no more messages of one queue than this.
_DEPTH: Final = 200
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def run_round(settings: Settings) -> None:
    fill_slots()
    sweep(settings)


def fill_slots() -> int:
    """Writes the jobs of the periods that have begun; how many were not there yet.

    A period that passed while no scheduler ran stays without its job.
    """
    with platform_session() as session:
        return sum(
            service.schedule_once(session, name, slot=begin.isoformat(), due_at=begin)
            for name, begin in _periods(clock.now())
        )


def _periods(now: datetime) -> list[tuple[str, datetime]]:
    return [(name, now - (now - _EPOCH) % every) for name, every in PERIODIC.items()]


def sweep(settings: Settings) -> int:
    """Tells workers of the jobs that are due and that none was told of lately; how many.

    This finds what is due later, what is to be tried again, what a killed worker had, and, after
    the time of a lease, what Redis lost. Any number of sweeps may run at once.
    """
    told, silence = 0, timedelta(seconds=settings.job_lease_seconds)
    for queue in QUEUES:
        try:
            room = _DEPTH - messages_in(queue)
        except BrokerAway as error:
            logger.warning("Redis is away; jobs wait", extra={"reason": str(error)})
            return told
        for job_id, name in _take_untold(queue, room, silence):
            if not hint(job_id=job_id, name=name, queue=queue):
                return told
            told += 1
    return told


def _take_untold(queue: str, room: int, silence: timedelta) -> list[tuple[UUID, str]]:
    if room <= 0:
        return []
    with platform_session() as session:
        jobs = queries.untold_jobs_for_change(session, queue=queue, silence=silence, limit=room)
        for job in jobs:
            job.hinted_at = func.now()
        return [(job.id, job.name) for job in jobs]
