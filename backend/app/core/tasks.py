"""Jobs: written names, a queue, a plane, one transaction; Celery carries them over Redis.

A job's message is a hint, not a record: what must happen also has a row that a sweep finds. So a
message that cannot be sent is logged and never fails the write that is already committed.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, Protocol, cast
from uuid import UUID

from celery import Celery
from flask import Flask, current_app
from kombu.exceptions import OperationalError
from sqlalchemy.exc import DBAPIError

from app.core import broker, tracing
from app.core.db import PlaneSession, after_commit, main_session
from app.core.errors import NotFound, Unavailable
from app.core.events import Origin, current_origin, originating
from app.core.logs import log_context
from app.core.outages import log_failure
from app.settings import Settings

logger = logging.getLogger(__name__)

# Every queue that a worker consumes, by name.
QUEUES: Final = ("default", "documents", "fleet", "mail", "sso", "webhooks")

# A message comes back to the queue after this many seconds without an acknowledgement, so no job
# may run longer.
_VISIBILITY_TIMEOUT: Final = 3600
_TIME_LIMIT: Final = timedelta(minutes=10)
_LONGEST_LIMIT: Final = timedelta(minutes=55)
_BROKER_TIMEOUT: Final = 2

# Carries the id of a row of the table of jobs; the row knows the rest.
_RUN_JOB: Final = "jobs.run"

# The header with the span that a message came from.
_TRACE: Final = "traceparent"
_CELERY: Final = {"messaging.system": "celery"}

# Where a job's one transaction is; None: it opens its own.
Plane = Literal["main", "tenant"] | None


class TenantGone(NotFound):
    """The tenant was deleted: none of its jobs will ever run."""


class TenantClosed(Unavailable):
    """The tenant is suspended or not ready yet: its jobs wait."""

    code = "tenant_closed"


class TenantOpener(Protocol):
    """What the factory supplies: a session for a job's tenant."""

    def __call__(self, tenant_id: UUID) -> AbstractContextManager[PlaneSession]:
        """One transaction on the tenant's database.

        Raises:
            TenantGone, TenantClosed: it cannot be opened any more, or at the moment.
        """
        ...


class NoTenantInMessage(ValueError):
    """A job names no tenant, so it has no data to work on."""


class BrokerAway(Unavailable):
    """Redis does not answer."""

    code = "broker_away"


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    name: str
    queue: str
    plane: Plane
    run: Callable[..., None]
    limit: timedelta = _TIME_LIMIT


DEFINITIONS: Final[dict[str, TaskDefinition]] = {}
PERIODIC: Final[dict[str, timedelta]] = {}
# Shorter than the time for which finished jobs are kept, which tell that a period had its job.
LONGEST_PERIOD: Final = timedelta(days=1)


def task(
    *, name: str, queue: str, plane: Plane = "tenant", limit: timedelta = _TIME_LIMIT
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a job of a function whose first parameter is a session on the plane.

    Its other parameters are ids, as text. It commits at the end, and can run twice. On the main
    plane the session is the application's, for the job's tenant if it has one. With ``plane=None``
    there is no session: the work has several transactions, and opens them itself. Its process is
    killed when it takes longer than ``limit``.
    """
    if queue not in QUEUES:
        raise ValueError(f"no worker consumes the queue {queue}")
    if limit > _LONGEST_LIMIT:
        raise ValueError(f"{name} may take {limit}, and its message would come back")

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        if name in DEFINITIONS:
            raise ValueError(f"two tasks are named {name}")
        DEFINITIONS[name] = TaskDefinition(name, queue, plane, function, limit)
        return function

    return decorate


def periodic(
    *, name: str, every: timedelta, queue: str, plane: Literal["main"] | None = "main"
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a job that runs once in each period, counted from 1970 in UTC; see `task`.

    None has the tenant plane: what visits every tenant's database does not get cheaper with more
    tenants. What a tenant needs later is scheduled by what happens in that tenant.
    """
    if not timedelta(minutes=1) <= every <= LONGEST_PERIOD:
        raise ValueError(f"{name} runs every {every}")

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        defined = task(name=name, queue=queue, plane=plane)(function)
        PERIODIC[name] = every
        return defined

    return decorate


def perform(
    definition: TaskDefinition,
    open_tenant: TenantOpener,
    *,
    tenant_id: UUID | None,
    arguments: dict[str, str],
    asked_by: UUID | None = None,
) -> None:
    """Runs the job in this process, in a transaction of its plane; ``asked_by`` is who wanted it.

    Raises:
        NoTenantInMessage: a job of the tenant plane without a tenant.
        TenantGone, TenantClosed: see `TenantOpener`.
    """
    with (
        tracing.span(f"job {definition.name}", kind="consumer", attributes=_CELERY),
        log_context(task=definition.name, tenant=tenant_id),
        originating(Origin(task=definition.name, on_behalf_of=asked_by)),
    ):
        if definition.plane is None:
            definition.run(**arguments)
        elif definition.plane == "main":
            with main_session(tenant_id=tenant_id) as session:
                definition.run(session, **arguments)
        elif tenant_id is None:
            raise NoTenantInMessage(definition.name)
        else:
            with open_tenant(tenant_id) as session:
                definition.run(session, **arguments)


def enqueue_after_commit(session: PlaneSession, name: str, **arguments: str) -> None:
    """Sends the job for the session's tenant once the transaction is committed."""
    definition, tenant_id, celery = DEFINITIONS[name], session.tenant_id, current_celery()
    if tenant_id is None:
        raise NoTenantInMessage(name)
    headers, asked_by = {"tenant": str(tenant_id)}, current_origin().person
    if asked_by is not None:
        headers["user"] = str(asked_by)
    after_commit(
        session,
        lambda: _send(
            celery,
            definition.name,
            definition.queue,
            headers=headers,
            kwargs=arguments,
        ),
    )


def hint(*, job_id: UUID, name: str, queue: str) -> bool:
    """Tells a worker that a row of the table of jobs is due; False where that was not possible."""
    known = DEFINITIONS.get(name)  # another version's rows may name what this one does not know
    limit = _TIME_LIMIT if known is None else known.limit
    return _send(
        current_celery(),
        _RUN_JOB,
        queue,
        shadow=name,  # what Flower, and Celery's own log, call it
        time_limit=limit.total_seconds(),
        kwargs={"job_id": str(job_id)},
    )


def messages_in(queue: str) -> int:
    """How many messages wait in the queue.

    Raises:
        BrokerAway: nobody knows.
    """
    connections: Any = current_celery().pool
    with connections.acquire(block=True) as connection:
        try:
            return int(connection.default_channel.queue_declare(queue).message_count)
        except (OperationalError, *connection.recoverable_connection_errors) as error:
            raise BrokerAway(str(error)) from error


def _send(celery: Celery, name: str, queue: str, **options: Any) -> bool:
    if (parent := tracing.traceparent()) is not None:
        options["headers"] = {**options.get("headers", {}), _TRACE: parent}
    try:
        celery.send_task(name, queue=queue, ignore_result=True, **options)
    except OperationalError as error:
        logger.warning(
            "job not sent; a sweep will find its row", extra={"task": name, "reason": str(error)}
        )
        return False
    return True


def current_celery() -> Celery:
    return cast("Celery", current_app.extensions["celery"])


def create_celery(
    app: Flask,
    settings: Settings,
    *,
    open_tenant: TenantOpener,
    run_job: Callable[[UUID], None],
) -> Celery:
    """The Celery application with every job that a message may name."""
    broker.register()
    celery = Celery("tenantry", broker=settings.redis_url.get_secret_value())
    celery.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=_TIME_LIMIT.total_seconds(),
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": _VISIBILITY_TIMEOUT,
            "socket_connect_timeout": _BROKER_TIMEOUT,
            # Longer than the second for which a worker's BRPOP waits; a request waits as long.
            "socket_timeout": _BROKER_TIMEOUT + 1,
            # Of the sender: Kombu would go on for six seconds, with a request waiting.
            "max_retries": 0,
        },
    )
    for definition in DEFINITIONS.values():
        if definition.plane == "tenant":
            _add(celery, app, definition, open_tenant)
    _add_carrier(celery, app, run_job)
    app.extensions["celery"] = celery
    return celery


def _add(celery: Celery, app: Flask, definition: TaskDefinition, open_tenant: TenantOpener) -> None:
    @celery.task(
        name=definition.name,
        shared=False,  # or it would be registered with every other application of this process
        bind=True,
        autoretry_for=(Unavailable, DBAPIError),
        retry_backoff=True,
        max_retries=5,
    )
    def run(self: Any, /, **arguments: str) -> None:
        headers = self.request.headers or {}
        tenant, user = headers.get("tenant"), headers.get("user")
        if tenant is None:
            raise NoTenantInMessage(definition.name)
        with app.app_context(), tracing.continued(headers.get(_TRACE)):
            perform(
                definition,
                open_tenant,
                tenant_id=UUID(tenant),
                arguments=arguments,
                asked_by=None if user is None else UUID(user),
            )


def _add_carrier(celery: Celery, app: Flask, run_job: Callable[[UUID], None]) -> None:
    @celery.task(name=_RUN_JOB, shared=False, bind=True)
    def run(self: Any, /, *, job_id: str) -> None:
        headers = self.request.headers or {}
        try:
            with app.app_context(), tracing.continued(headers.get(_TRACE)):
                run_job(UUID(job_id))
        except Exception as error:  # noqa: BLE001  # its row is there, and found again
            log_failure(logger, "a job could not be taken or written down", error, job=job_id)
