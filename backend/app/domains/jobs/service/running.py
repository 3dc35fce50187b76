"""One attempt at a job: claimed, kept by a lease, and written down."""

import logging
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.exc import SQLAlchemyError

from app.core.db import platform_session
from app.core.logs import log_context
from app.core.outages import log_failure
from app.core.tasks import DEFINITIONS, TenantClosed, TenantGone, TenantOpener, perform
from app.domains.jobs import queries
from app.domains.jobs.models import Job, JobState
from app.settings import Settings

logger = logging.getLogger(__name__)

_LONGEST_BACK_OFF: Final = timedelta(hours=1)
_WAIT_FOR_TENANT: Final = timedelta(minutes=5)
_LONGEST_ERROR: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """One attempt at a job. Its number tells it from an attempt that was taken for dead."""

    job_id: UUID
    name: str
    tenant_id: UUID | None
    arguments: dict[str, str]
    asked_by: UUID | None
    attempt: int


def run(job_id: UUID, *, settings: Settings, open_tenant: TenantOpener) -> None:
    """Runs the job if it is due and nobody has it, and writes down how it went."""
    claim = _claim(job_id, settings)
    if claim is None:
        return
    with log_context(job=job_id, task=claim.name, tenant=claim.tenant_id):
        with _lease_kept(claim, settings):
            error = _attempt(claim, open_tenant)
        _settle(claim, error, settings)


def _claim(job_id: UUID, settings: Settings) -> _Claim | None:
    with platform_session() as session:
        job = queries.due_job_for_change(session, job_id)
        if job is None:
            return None
        if job.state == JobState.RUNNING:
            job.last_error = "its worker did not come back"
        if job.attempts >= settings.job_attempts:
            _finish(job, JobState.FAILED)
            return None
        job.state, job.attempts = JobState.RUNNING, job.attempts + 1
        job.due_at, job.hinted_at = func.now() + _lease(settings), None
        return _Claim(
            job_id=job.id,
            name=job.name,
            tenant_id=job.tenant_id,
            arguments=job.arguments,
            asked_by=job.asked_by,
            attempt=job.attempts,
        )


def _attempt(claim: _Claim, open_tenant: TenantOpener) -> Exception | None:
    """What the job raised."""
    try:
        perform(
            DEFINITIONS[claim.name],
            open_tenant,
            tenant_id=claim.tenant_id,
            arguments=claim.arguments,
            asked_by=claim.asked_by,
        )
    except (TenantGone, TenantClosed) as error:
        return error
    except Exception as error:  # noqa: BLE001  # whatever it is, other jobs go on
        log_failure(logger, "job failed", error, attempt=claim.attempt)
        return error
    return None


def _settle(claim: _Claim, error: Exception | None, settings: Settings) -> None:
    with platform_session() as session:
        job = queries.running_job_for_change(session, claim.job_id, attempt=claim.attempt)
        if job is None:  # taken for dead, and the job is another worker's by now
            return
        job.last_error = job.last_error if error is None else _told(error)
        match error:
            case None:
                _finish(job, JobState.DONE)
            case TenantGone():
                _finish(job, JobState.DROPPED)
            case TenantClosed():
                job.attempts -= 1  # it did not begin
                _postpone(job, _WAIT_FOR_TENANT)
            case _ if job.attempts >= settings.job_attempts:
                _finish(job, JobState.FAILED)
            case _:
                _postpone(job, _back_off(job.attempts, settings))


def _finish(job: Job, state: JobState) -> None:
    job.state, job.finished_at = state, func.now()
    if state is JobState.FAILED:
        logger.error("job given up", extra={"job": str(job.id), "reason": job.last_error})


def _postpone(job: Job, wait: timedelta) -> None:
    job.state, job.due_at = JobState.WAITING, func.now() + wait


def _back_off(attempts: int, settings: Settings) -> timedelta:
    """Doubles with each attempt; between half and all of it, so that a crowd spreads out."""
    doubled = min(2.0 ** (attempts - 1) * settings.job_back_off_seconds, 2.0**20)
    return min(timedelta(seconds=doubled), _LONGEST_BACK_OFF) * random.uniform(0.5, 1)  # noqa: S311


def _told(error: Exception) -> str:
    """The error's name and first line: what follows there may quote a tenant's data."""
    first = str(error).partition("\n")[0]
    text = f"{type(error).__name__}: {first}".replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text.encode(errors="replace").decode()[:_LONGEST_ERROR]


# The lease.


def _lease(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.job_lease_seconds)


@contextmanager
def _lease_kept(claim: _Claim, settings: Settings) -> Iterator[None]:
    """Renews the lease from a thread beside the work: it ends when the process does."""
    over = threading.Event()
    # The context holds the application that the thread works for.
    work: tuple[Any, ...] = (_keep_lease, claim, settings, over)
    keeper = threading.Thread(target=copy_context().run, args=work, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def _keep_lease(claim: _Claim, settings: Settings, over: threading.Event) -> None:
    while not over.wait(settings.job_lease_seconds / 3):
        try:
            if not _renew(claim, settings):
                logger.warning("the job's lease was lost: it may run twice")
                return
        except SQLAlchemyError as error:
            log_failure(logger, "the job's lease could not be renewed", error)


def _renew(claim: _Claim, settings: Settings) -> bool:
    with platform_session() as session:
        job = queries.running_job_for_change(session, claim.job_id, attempt=claim.attempt)
        if job is not None:
            job.due_at = func.now() + _lease(settings)
        return job is not None
