"""Reads of due work. The database's clock decides what is due, not a worker's."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Row, Select, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from app.core.db import MainSession
from app.domains.jobs.models import CANARY, OPEN, Canary, Job, JobState


def _due() -> Select[Job]:
    return select(Job).where(Job.state.in_(OPEN), Job.due_at <= func.now())


def due_job_for_change(session: MainSession, job_id: UUID) -> Job | None:
    """The job if a worker may take it now, locked: of two workers, the second finds nothing."""
    return session.scalar(_due().where(Job.id == job_id).with_for_update())


def running_job_for_change(session: MainSession, job_id: UUID, *, attempt: int) -> Job | None:
    """The job if this attempt is still the one that has it."""
    return session.scalar(
        select(Job)
        .where(Job.id == job_id, Job.state == JobState.RUNNING, Job.attempts == attempt)
        .with_for_update()
    )


def job_for_change(session: MainSession, job_id: UUID) -> Job | None:
    return session.get(Job, job_id, with_for_update=True)


def untold_jobs_for_change(
    session: MainSession, *, queue: str, silence: timedelta, limit: int
) -> Sequence[Job]:
    """Due jobs that no worker was told of for that long; another sweep's are passed over."""
    return session.scalars(
        _due()
        .where(Job.queue == queue)
        .where(or_(Job.hinted_at.is_(None), Job.hinted_at < func.now() - silence))
        .order_by(Job.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()


def jobs(session: MainSession, *, states: Sequence[JobState], limit: int) -> Sequence[Job]:
    """Newest first."""
    statement = select(Job).where(Job.state.in_(states)).order_by(Job.id.desc()).limit(limit)
    return session.scalars(statement).all()


def backlog(session: MainSession) -> Row[int, int, float]:
    """Sums over every tenant's jobs, which the application's role cannot read one by one."""
    return session.execute(text("SELECT due, failed, oldest_due_seconds FROM job_backlog()")).one()


def over_for(kept: timedelta, *, canaries_kept: timedelta) -> Select[UUID]:
    """The ids of jobs that were done or dropped longer ago than that; canaries are kept shorter."""
    return select(Job.id).where(
        or_(
            Job.finished_at < func.now() - kept,
            (Job.finished_at < func.now() - canaries_kept) & Job.name.startswith(CANARY),
        ),
        Job.state.in_((JobState.DONE, JobState.DROPPED)),
    )


def put_canary(session: MainSession, *, queue: str) -> None:
    statement = insert(Canary).values(queue=queue, ran_at=func.now())
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[Canary.queue], set_={"ran_at": statement.excluded.ran_at}
        )
    )


def drop_waiting_canaries(session: MainSession, *, queue: str) -> None:
    session.execute(
        update(Job)
        .where(Job.queue == queue, Job.name == CANARY + queue, Job.state == JobState.WAITING)
        .values(state=JobState.DROPPED, finished_at=func.now())
    )


def canaries(session: MainSession) -> dict[str, float]:
    """Of each queue that had one, how many seconds ago the last was."""
    age = func.extract("epoch", func.now() - Canary.ran_at)
    return {queue: float(seconds) for queue, seconds in session.execute(select(Canary.queue, age))}
