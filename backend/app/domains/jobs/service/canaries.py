"""A job that does nothing goes through every queue each minute; a queue without it stands still.

A worker can be alive and silent, for one after Redis was away: what tells is that work gets done.
"""

from datetime import timedelta
from typing import Final

from app.core.db import MainSession, main_session
from app.core.tasks import QUEUES
from app.domains.jobs import queries

EVERY: Final = timedelta(minutes=1)
# Longer than a worker of the queue is busy with what lies before the canary.
_SILENCE: Final = timedelta(minutes=5)
_SILENCES: Final = {"fleet": timedelta(hours=1)}


class QueuesSilent(Exception):
    """No worker has come to some queues for long."""


def note(session: MainSession, *, queue: str) -> None:
    """Says that the canary has come through; those that wait behind it have nothing to add."""
    queries.put_canary(session, queue=queue)
    queries.drop_waiting_canaries(session, queue=queue)


def ages(session: MainSession) -> dict[str, float]:
    """Seconds since the last canary of each queue; infinite where there was none yet."""
    found = queries.canaries(session)
    return {queue: found.get(queue, float("inf")) for queue in QUEUES}


def ask() -> None:
    """Returns where every queue is worked at, as far as its canary tells.

    Raises:
        QueuesSilent: some are not.
    """
    with main_session() as session:
        silent = [
            queue
            for queue, age in ages(session).items()
            if age > _SILENCES.get(queue, _SILENCE).total_seconds()
        ]
    if silent:
        raise QueuesSilent(f"No worker has come to {', '.join(silent)} lately.")
