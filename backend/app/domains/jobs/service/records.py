"""The table itself: what an operator sees and decides, and what is kept of it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import CursorResult, delete, func

from app.core.db import MainSession
from app.core.readings import JobFigures
from app.domains.jobs import queries
from app.domains.jobs.errors import JobIsOver, JobIsRunning, JobNotFound
from app.domains.jobs.models import Job, JobState
from app.domains.jobs.service import canaries

_CANARIES_KEPT: Final = timedelta(hours=1)


def list_jobs(session: MainSession, *, states: Sequence[JobState], limit: int) -> Sequence[Job]:
    """The newest of these states; every tenant's, so the session is the platform's."""
    return queries.jobs(session, states=states, limit=limit)


def backlog(session: MainSession) -> JobFigures:
    return JobFigures(*queries.backlog(session), canaries=canaries.ages(session))


def retry(session: MainSession, *, job_id: UUID) -> Job:
    """Makes the job due at once, with all its attempts before it.

    Raises:
        JobNotFound, JobIsRunning: there is nothing to retry.
        JobIsOver: it is done.
    """
    job = _at_rest(session, job_id)
    if job.state == JobState.DONE:
        raise JobIsOver("This job is done.")
    job.state, job.attempts, job.finished_at = JobState.WAITING, 0, None
    job.due_at, job.hinted_at = func.now(), None
    return job


def drop(session: MainSession, *, job_id: UUID) -> Job:
    """Sees to it that a job that waits or failed never runs.

    Raises:
        JobNotFound, JobIsRunning: there is nothing to drop.
        JobIsOver: it is done or dropped.
    """
    job = _at_rest(session, job_id)
    if job.state in {JobState.DONE, JobState.DROPPED}:
        raise JobIsOver(f"This job is {job.state}.")
    job.state, job.finished_at = JobState.DROPPED, func.now()
    return job


def _at_rest(session: MainSession, job_id: UUID) -> Job:
    job = queries.job_for_change(session, job_id)
    if job is None:
        raise JobNotFound("There is no such job.")
    if job.state == JobState.RUNNING:
        raise JobIsRunning("A worker has this job; wait until it is through or its lease is over.")
    return job


def purge(session: MainSession, *, kept: timedelta, limit: int) -> int:
    """Deletes jobs that were done or dropped longer ago than ``kept``; how many, up to the limit.

    What failed stays until somebody drops or retries it; canaries go after an hour.
    """
    old = queries.over_for(kept, canaries_kept=_CANARIES_KEPT).limit(limit)
    result = session.execute(delete(Job).where(Job.id.in_(old)))
    return int(cast("CursorResult[Any]", result).rowcount)
