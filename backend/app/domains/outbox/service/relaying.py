"""Sending what one database's outbox holds: in order, and by one relay at a time."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from app.core.catalogue import catalogue
from app.core.cloudevents import CloudEvent
from app.core.db import PlaneSession, platform_session
from app.core.messages import Message, Publisher
from app.core.tasks import TenantOpener
from app.domains.outbox import queries
from app.domains.outbox.models import MainOutgoing, Outgoing
from app.domains.outbox.service.recording import MAIN, TRACE

logger = logging.getLogger(__name__)

_OTHERS: Final = "events"


@dataclass(frozen=True, slots=True)
class Sent:
    """``more`` says that the outbox may hold more."""

    count: int
    more: bool


class Outboxes:
    """Every lane's outbox: the main database's, "main", and each tenant's, by its id."""

    def __init__(
        self, publisher: Publisher, *, source: str, batch: int, open_tenant: TenantOpener
    ) -> None:
        self._publisher = publisher
        self._source = source
        self._batch = batch
        self._open_tenant = open_tenant

    def send(self, lane: str) -> Sent:
        """Hands a batch over and marks it as sent, in one transaction.

        A relay that is killed in between leaves events to be sent once more, and none unsent.

        Raises:
            TenantGone, TenantClosed: the lane cannot be opened any more, or at the moment.
            Unavailable: who takes the messages is away, or the lane's database.
        """
        with self._open(lane) as session:
            if not queries.hold(session):
                return Sent(0, more=True)
            rows = queries.unsent_for_change(session, limit=self._batch)
            if rows:
                self._publisher.publish([self._message(lane, row) for row in rows])
                queries.mark_sent(session, [row.id for row in rows])
        return Sent(len(rows), more=len(rows) == self._batch)

    def _open(self, lane: str) -> AbstractContextManager[PlaneSession]:
        return platform_session() if lane == MAIN else self._open_tenant(UUID(lane))

    def _message(self, lane: str, row: Outgoing) -> Message:
        """A tenant's role may write into its outbox; whose event it is says the lane."""
        tenant_id, key = (
            (row.tenant_id, row.key) if isinstance(row, MainOutgoing) else (UUID(lane), lane)
        )
        event = CloudEvent(
            id=row.id,
            source=self._source,
            type=row.type,
            subject=row.subject,
            time=row.recorded_at,
            tenantid=tenant_id,
            actorid=row.actor_id,
            traceparent=row.data.get(TRACE),
            data={name: value for name, value in row.data.items() if name != TRACE},
        )
        known = catalogue().get(row.type)
        return Message(
            topic=_OTHERS if known is None else known.topic,
            key=key,
            value=event.dumps(),
        )


class InProcess:
    """A `Publisher` without Kafka: the handlers are called at once."""

    def __init__(self, receive: Callable[[Sequence[Message]], None]) -> None:
        self._receive = receive

    def publish(self, messages: Sequence[Message]) -> None:
        self._receive(messages)
