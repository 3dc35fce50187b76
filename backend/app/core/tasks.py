"""Jobs: written names, a queue, a tenant, one transaction; Celery carries them over Redis.

A job's message is a hint, not a record: what must happen also has a row that a sweep finds. So a
message that cannot be sent is logged and never fails the write that is already committed.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast
from uuid import UUID

from celery import Celery
from flask import Flask, current_app
from kombu.exceptions import OperationalError
from sqlalchemy.exc import DBAPIError

from app.core.db import PlaneSession, after_commit
from app.core.errors import Unavailable
from app.core.events import Origin, originating
from app.core.logs import log_context
from app.settings import Settings

logger = logging.getLogger(__name__)

# A message comes back to the queue after this many seconds without an acknowledgement, so no job
# may run longer.
_VISIBILITY_TIMEOUT: Final = 3600
_TIME_LIMIT: Final = 600
_BROKER_TIMEOUT: Final = 2


class TenantOpener(Protocol):
    """What the factory supplies: a session for a job's tenant."""

    def __call__(self, tenant_id: UUID) -> AbstractContextManager[PlaneSession]: ...


class NoTenantInMessage(ValueError):
    """A message names no tenant, so its job has no data to work on."""


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    name: str
    queue: str
    run: Callable[..., None]


DEFINITIONS: Final[dict[str, TaskDefinition]] = {}


def task(*, name: str, queue: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a job of a function whose first parameter is a session on the message's tenant.

    Its other parameters come from the message: ids, as text. It commits at the end, and can run
    twice.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        if name in DEFINITIONS:
            raise ValueError(f"two tasks are named {name}")
        DEFINITIONS[name] = TaskDefinition(name, queue, function)
        return function

    return decorate


def enqueue_after_commit(session: PlaneSession, name: str, **arguments: str) -> None:
    """Sends the job for the session's tenant once the transaction is committed."""
    definition, tenant_id, celery = DEFINITIONS[name], session.tenant_id, current_celery()
    if tenant_id is None:
        raise NoTenantInMessage(name)
    after_commit(
        session, lambda: _send(celery, definition, tenant_id=tenant_id, arguments=arguments)
    )


def _send(
    celery: Celery, definition: TaskDefinition, *, tenant_id: UUID, arguments: dict[str, str]
) -> None:
    try:
        celery.send_task(
            definition.name,
            kwargs=arguments,
            queue=definition.queue,
            headers={"tenant": str(tenant_id)},
            ignore_result=True,
        )
    except OperationalError as error:
        logger.warning(
            "job not sent; a sweep will find its row",
            extra={"task": definition.name, "reason": str(error)},
        )


def current_celery() -> Celery:
    return cast("Celery", current_app.extensions["celery"])


def create_celery(app: Flask, settings: Settings, open_tenant: TenantOpener) -> Celery:
    """The Celery application with every job that was defined."""
    celery = Celery("tenantry", broker=settings.redis_url.get_secret_value())
    celery.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=_TIME_LIMIT,
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
        _add(celery, app, definition, open_tenant)
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
        tenant = (self.request.headers or {}).get("tenant")
        if tenant is None:
            raise NoTenantInMessage(definition.name)
        with (
            app.app_context(),
            log_context(task=definition.name, tenant=tenant),
            originating(Origin(task=definition.name)),
            open_tenant(UUID(tenant)) as session,
        ):
            definition.run(session, **arguments)
