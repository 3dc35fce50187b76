"""Events reach their handlers: in the order of their keys, each effect once.

A handler's effect and the note that it has had the event are one transaction. An event that it
fails at is parked in a table, and so are the later ones of its key, for this handler alone; from
there each is tried again, with pauses that double, until it is a dead letter.

Where nothing fails, all handlers of all events of a key that came together share one transaction
in each database. Where something does, nothing was done, and each is handled by itself.
"""

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func

from app.core import ids, tracing
from app.core.cloudevents import CloudEvent, Undecodable
from app.core.consumers import CONSUMERS, Consumer, Plane, consumers_of
from app.core.db import PlaneSession, main_session, platform_session
from app.core.events import Origin, originating
from app.core.logs import log_context
from app.core.messages import Message
from app.core.outages import log_failure
from app.core.tasks import TenantClosed, TenantGone, TenantOpener
from app.domains.outbox import queries
from app.domains.outbox.models import LetterState, Undelivered
from app.settings import Settings

logger = logging.getLogger(__name__)

_LONGEST_BACK_OFF: Final = timedelta(hours=1)
_LONGEST_WAIT_FOR_TENANT: Final = timedelta(minutes=5)
_LONGEST_ERROR: Final = 500
_HEADS: Final = 100

Stopping = Callable[[], bool]


class Delivery:
    """Calls the handlers; any number of processes may, of the same or of other events."""

    def __init__(self, settings: Settings, *, open_tenant: TenantOpener) -> None:
        self._settings = settings
        self._open_tenant = open_tenant

    def receive_all(self, messages: Sequence[Message]) -> None:
        """`receive` for many: in their order, as far as they are of the same key.

        Raises:
            SQLAlchemyError: as `receive`; some of them may be handled.
        """
        by_key: dict[str, list[Message]] = {}
        for message in messages:
            by_key.setdefault(message.key, []).append(message)
        events = {key: _events_of(own) for key, own in by_key.items()}
        event_ids = [event.id for own in events.values() for event in own]
        with platform_session() as session:
            held_back = queries.keys_held_back(session, keys=by_key, event_ids=event_ids)
        for key, own in by_key.items():
            if key in held_back or not self._handled_together(events[key]):
                for message in own:
                    self.receive(message)

    def receive(self, message: Message) -> None:
        """Once it returns, the message is handled, parked, or a dead letter.

        Raises:
            SQLAlchemyError: the main database is away; nothing is known of the message.
        """
        try:
            event = CloudEvent.loads(message.value)
        except Undecodable as error:
            self._bury(message, error)
            return
        with platform_session() as session:
            held_back = queries.held_back(session, key=message.key, event_id=event.id)
        for consumer in consumers_of(event):
            if consumer.name not in held_back:
                failure = self._attempt(consumer, event)
                if failure is not None and not isinstance(failure, TenantGone):
                    self._park(message, event, consumer, failure)
            elif not held_back[consumer.name]:
                self._park(message, event, consumer, None)

    def retry_due(self, stopping: Stopping = lambda: False) -> int:
        """Tries again what is due; how many were tried."""
        tried = 0
        while not stopping():
            with platform_session() as session:
                heads = queries.due_heads(session, limit=_HEADS)
            done = sum(self._retry(head) for head in heads)
            tried += done
            if not done:  # nothing is due, or other processes have it
                break
        return tried

    def _handled_together(self, events: Sequence[CloudEvent]) -> bool:
        """Whether each was handled, by one transaction in each database.

        What the first has done stays where the second fails: it has its notes.
        """
        try:
            for place, pairs in _by_place(events).items():
                with self._open(*place) as session:
                    _claim_all(session, pairs)
                    for consumer, event in pairs:
                        with _handling(consumer, event):
                            consumer.handle(session, event)
                            session.flush()  # whatever is refused is this handler's
        except Exception as error:  # noqa: BLE001  # by itself, each tells what is wrong with it
            logger.info(
                "not handled together; now one by one",
                extra={"events": len(events), "reason": type(error).__name__},
            )
            return False
        return bool(events)

    def _attempt(self, consumer: Consumer, event: CloudEvent) -> Exception | None:
        """What the handler raised."""
        with _handling(consumer, event) as span:
            try:
                with self._open(consumer.plane, event.tenantid) as session:
                    if queries.claim(session, consumer=consumer.name, event_id=event.id):
                        consumer.handle(session, event)
            except (TenantClosed, TenantGone) as error:
                return error
            except Exception as error:  # noqa: BLE001  # whatever it is, other events go on
                span.set_attribute("error.type", type(error).__name__)
                log_failure(logger, "handler failed", error, type=event.type)
                return error
        return None

    def _open(self, plane: Plane, tenant_id: UUID | None) -> AbstractContextManager[PlaneSession]:
        if plane == "main":
            return main_session(tenant_id=tenant_id)
        if tenant_id is None:
            raise TenantGone("The event is of no tenant.")
        return self._open_tenant(tenant_id)

    # What is put aside.

    def _park(
        self, message: Message, event: CloudEvent, consumer: Consumer, error: Exception | None
    ) -> None:
        """Behind others, where there was no error."""
        attempts = 0 if error is None else 1
        wait = timedelta(0) if error is None else self._pause(attempts, error)
        self._put_aside(
            message,
            consumer=consumer.name,
            event_id=event.id,
            type=event.type,
            tenant_id=event.tenantid,
            state=self._state_after(attempts, error),
            attempts=attempts,
            due_at=func.now() + wait,
            last_error=error and _told(error),
        )

    def _bury(self, message: Message, error: Exception) -> None:
        logger.error("undecodable message", extra=_coordinates(message) | {"reason": str(error)})
        self._put_aside(
            message,
            consumer=None,
            event_id=None,
            type=None,
            tenant_id=None,
            state=LetterState.DEAD,
            attempts=1,
            due_at=func.now(),
            last_error=_told(error),
        )

    @staticmethod
    def _put_aside(message: Message, **values: Any) -> None:
        row = _coordinates(message) | {
            "id": ids.new_id(),
            "key": message.key,
            "payload": message.value or b"",
            "created_at": func.now(),
            "updated_at": func.now(),
        }
        with platform_session() as session:
            queries.put_aside(session, row | values)

    def _retry(self, letter_id: UUID) -> bool:
        """Whether it was tried. Its row is locked meanwhile, so nobody else tries it."""
        with platform_session() as session:
            letter = queries.due_for_change(session, letter_id)
            if letter is None:
                return False
            error = self._attempt_letter(letter)
            if error is None or isinstance(error, TenantGone):
                session.delete(letter)
                return True
            letter.attempts += 1
            letter.last_error = _told(error)
            letter.state = self._state_after(letter.attempts, error)
            letter.due_at = func.now() + self._pause(letter.attempts, error)
            if letter.state == LetterState.DEAD:
                logger.error(
                    "event given up",
                    extra={"letter": letter.id, "consumer": letter.consumer, "type": letter.type},
                )
            return True

    def _attempt_letter(self, letter: Undelivered) -> Exception | None:
        try:
            event = CloudEvent.loads(letter.payload)
        except Undecodable as error:
            return error
        if letter.consumer is not None:
            consumer = CONSUMERS.get(letter.consumer)
            if consumer is None:
                return LookupError(f"there is no consumer {letter.consumer}")
            return self._attempt(consumer, event)
        self.receive(
            Message(topic=letter.topic, key=letter.key, value=letter.payload)
        )  # it was no event, to an older release
        return None

    def _state_after(self, attempts: int, error: Exception | None) -> LetterState:
        """A tenant that is closed is waited for, however long."""
        if error is None or isinstance(error, TenantClosed):
            return LetterState.PARKED
        if isinstance(error, Undecodable) or attempts >= self._settings.event_attempts:
            return LetterState.DEAD
        return LetterState.PARKED

    def _pause(self, attempts: int, error: Exception) -> timedelta:
        """Doubles with each attempt; between half and all of it, so that a crowd spreads out."""
        doubled = min(2.0 ** (attempts - 1) * self._settings.event_back_off_seconds, 2.0**20)
        closed = isinstance(error, TenantClosed)
        longest = _LONGEST_WAIT_FOR_TENANT if closed else _LONGEST_BACK_OFF
        return min(timedelta(seconds=doubled), longest) * random.uniform(0.5, 1)  # noqa: S311


class _HadBefore(Exception):
    """A handler had one of the events already, or one came twice."""


def _events_of(messages: Sequence[Message]) -> list[CloudEvent]:
    """None, where one of them is none."""
    try:
        return [CloudEvent.loads(message.value) for message in messages]
    except Undecodable:
        return []


def _by_place(
    events: Sequence[CloudEvent],
) -> dict[tuple[Plane, UUID | None], list[tuple[Consumer, CloudEvent]]]:
    """Who has to handle what in which database, in the order of the events."""
    places: dict[tuple[Plane, UUID | None], list[tuple[Consumer, CloudEvent]]] = {}
    for event in events:
        for consumer in consumers_of(event):
            places.setdefault((consumer.plane, event.tenantid), []).append((consumer, event))
    return places


def _claim_all(session: PlaneSession, pairs: Sequence[tuple[Consumer, CloudEvent]]) -> None:
    notes = [(consumer.name, event.id) for consumer, event in pairs]
    if queries.claim_all(session, notes) != len(notes):
        raise _HadBefore


@contextmanager
def _handling(consumer: Consumer, event: CloudEvent) -> Iterator[tracing.Span]:
    with (
        log_context(consumer=consumer.name, event=event.id),
        originating(Origin(on_behalf_of=event.actorid, task=consumer.name)),
        tracing.span(
            f"handle {consumer.name}",
            kind="consumer",
            parent=event.traceparent,
            attributes={"messaging.system": "kafka", "tenantry.event": event.type},
        ) as span,
    ):
        yield span


def _coordinates(message: Message) -> dict[str, object]:
    return {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
    }


def _told(error: Exception) -> str:
    """The error's name and first line: what follows there may quote a tenant's data."""
    first = str(error).partition("\n")[0]
    text = f"{type(error).__name__}: {first}".replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text.encode(errors="replace").decode()[:_LONGEST_ERROR]
