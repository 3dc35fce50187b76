"""Deliveries: what becomes of an event, of a test, of a replay; and how long it is kept.

A delivery is a row of the tenant's database, the job that attempts it one of the main database.
The second is written once the first is there; a sweep, written before it, finds what then breaks
off.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from app.core import clock, events, ids
from app.core.cloudevents import CloudEvent
from app.core.db import after_commit, main_session
from app.core.pages import Cursors, Page, page_of
from app.core.tasks import enqueue_after_commit
from app.domains.jobs import service as jobs
from app.domains.webhooks import errors, policy, queries
from app.domains.webhooks.events import DeliveriesReplayed, EndpointTested
from app.domains.webhooks.models import Attempt, Delivery, DeliveryState, Endpoint, Message
from app.domains.webhooks.service.endpoints import found
from app.tenancy.sessions import TenantSession

_TEST: Final = "webhook.test"
# A sweep comes between one and two of these after what it was promised for.
_SWEEP: Final = timedelta(seconds=30)
_LATER_SWEEPS: Final = timedelta(hours=1)
_BATCH: Final = 1000


def queue(session: TenantSession, event: CloudEvent, *, kept_days: int) -> None:
    """A delivery to each endpoint that chose the event's type."""
    endpoints = queries.listening(session, policy.chosen_by(event.type))
    if endpoints:
        message = Message(id=event.id, type=event.type, body=_body_of(event))
        session.add(message)
        _send(session, message, endpoints, kept_days=kept_days)


def test_endpoint(session: TenantSession, *, endpoint_id: UUID, kept_days: int) -> Delivery:
    """Sends it an event that nothing caused, whatever types it chose.

    Raises:
        EndpointDisabled: nothing is sent to it.
    """
    endpoint = _enabled(session, endpoint_id)
    data = {"endpoint_id": endpoint.id}
    body = _body(_TEST, clock.now(), data, tenant_id=session.location.tenant_id)
    message = Message(id=ids.new_id(), type=_TEST, body=body)
    session.add(message)
    events.record(session, EndpointTested(endpoint_id=endpoint.id))
    return _send(session, message, [endpoint], kept_days=kept_days)[0]


def list_deliveries(
    session: TenantSession,
    *,
    endpoint_id: UUID,
    cursors: Cursors,
    cursor: str | None,
    limit: int,
    state: str | None,
    event_type: str | None,
) -> Page[Delivery]:
    """What was sent to the endpoint, newest first."""
    found(queries.endpoint(session, endpoint_id))
    after = None if cursor is None else cursors.load(cursor)
    rows = queries.deliveries(
        session,
        endpoint_id=endpoint_id,
        state=state,
        event_type=event_type,
        after=after,
        limit=limit + 1,
    )
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda row: row.id)


def get_delivery(session: TenantSession, *, endpoint_id: UUID, delivery_id: UUID) -> Delivery:
    delivery = queries.delivery(session, endpoint_id=endpoint_id, delivery_id=delivery_id)
    if delivery is None:
        raise errors.DeliveryNotFound("The endpoint has no such delivery.")
    return delivery


def attempts_of(session: TenantSession, delivery: Delivery) -> Sequence[Attempt]:
    return queries.attempts(session, delivery.id)


def replay(
    session: TenantSession, *, endpoint_id: UUID, delivery_id: UUID, kept_days: int
) -> Delivery:
    """Sends the same message again, under its id, by a delivery of its own.

    Raises:
        EndpointDisabled: nothing is sent to it.
    """
    endpoint = _enabled(session, endpoint_id)
    delivery = get_delivery(session, endpoint_id=endpoint_id, delivery_id=delivery_id)
    events.record(session, DeliveriesReplayed(endpoint_id=endpoint.id, count=1))
    return _send(session, delivery.message, [endpoint], kept_days=kept_days, replay=True)[0]


def replay_range(
    session: TenantSession,
    *,
    endpoint_id: UUID,
    since: datetime,
    until: datetime | None,
    states: Sequence[str],
    kept_days: int,
) -> int:
    """Sends again what came in that time and is in one of these states; how many.

    Without delivered among them, what arrived by another delivery stays out.

    Raises:
        EndpointDisabled: nothing is sent to it.
        ReplayTooLarge: they are too many for one request.
    """
    endpoint, most = _enabled(session, endpoint_id), policy.MOST_REPLAYED
    message_ids = queries.messages_to_replay(
        session,
        endpoint_id=endpoint.id,
        since=since,
        until=until or clock.now(),
        states=states,
        limit=most + 1,
    )
    if len(message_ids) > most:
        raise errors.ReplayTooLarge(f"The range holds more than {most} deliveries.")
    rows = [_row(message_id, endpoint, replay=True) for message_id in message_ids]
    _begin(session, rows, kept_days=kept_days)
    events.record(session, DeliveriesReplayed(endpoint_id=endpoint.id, count=len(rows)))
    return len(rows)


def sweep(session: TenantSession) -> None:
    """Has attempted what is overdue, and comes again while anything is on its way."""
    overdue = queries.overdue(session, before=clock.now() - _SWEEP / 2, limit=_BATCH)
    tenant_id = session.location.tenant_id
    after_commit(session, lambda: schedule(tenant_id, overdue))
    if queries.any_pending(session):
        again = clock.now() + (_SWEEP if len(overdue) == _BATCH else _LATER_SWEEPS)
        _promise_sweep(tenant_id, at=again)


def purge(session: TenantSession, *, days: int) -> None:
    """Deletes what came longer ago; what is left is for the next job."""
    before = clock.now() - timedelta(days=days)
    if queries.purge(session, before=before, limit=_BATCH) == _BATCH:
        enqueue_after_commit(session, "webhooks.purge")


def schedule(
    tenant_id: UUID, delivery_ids: Sequence[UUID], *, due_at: datetime | None = None
) -> None:
    """The jobs that attempt these deliveries; only once for the same delivery and time."""
    with main_session(tenant_id=tenant_id) as main:
        for delivery_id in delivery_ids:
            when = clock.now() if due_at is None else due_at
            jobs.schedule_once(
                main,
                "webhooks.deliver",
                slot=f"{delivery_id} {when.isoformat()}",
                due_at=due_at,
                tenant_id=tenant_id,
                tenant=str(tenant_id),
                delivery=str(delivery_id),
            )


def _send(
    session: TenantSession,
    message: Message,
    endpoints: Sequence[Endpoint],
    *,
    kept_days: int,
    replay: bool = False,
) -> list[Delivery]:
    rows = [_row(message.id, endpoint, replay=replay) for endpoint in endpoints]
    _begin(session, rows, kept_days=kept_days)
    return rows


def _row(message_id: UUID, endpoint: Endpoint, *, replay: bool) -> Delivery:
    now, goes_out = clock.now(), policy.goes_out(endpoint)
    return Delivery(
        id=ids.new_id(),
        endpoint_id=endpoint.id,
        message_id=message_id,
        replay=replay,
        state=DeliveryState.PENDING if goes_out else DeliveryState.SKIPPED,
        next_attempt_at=now if goes_out else None,
        finished_at=None if goes_out else now,
    )


def _begin(session: TenantSession, rows: Sequence[Delivery], *, kept_days: int) -> None:
    session.add_all(rows)
    session.flush()  # the message first, and whatever is refused before anything is promised
    tenant_id = session.location.tenant_id
    _promise_purge(tenant_id, days=kept_days)
    pending = [row.id for row in rows if row.state == DeliveryState.PENDING]
    if pending:
        _promise_sweep(tenant_id, at=clock.now() + _SWEEP)
        after_commit(session, lambda: schedule(tenant_id, pending))


def _promise_sweep(tenant_id: UUID, *, at: datetime) -> None:
    """One for all that comes in the same half minute; it is committed before they are."""
    slot = _at_or_after(at, _SWEEP)
    with main_session(tenant_id=tenant_id) as main:
        jobs.schedule_once(
            main, "webhooks.sweep", slot=slot.isoformat(), due_at=slot, tenant_id=tenant_id
        )


def _promise_purge(tenant_id: UUID, *, days: int) -> None:
    """One job for all that the tenant sends today."""
    today = clock.now().date()
    with main_session(tenant_id=tenant_id) as main:
        jobs.schedule_once(
            main,
            "webhooks.purge",
            slot=today.isoformat(),
            due_at=datetime.combine(today, time(), UTC) + timedelta(days=days + 1),
            tenant_id=tenant_id,
        )


def _at_or_after(moment: datetime, step: timedelta) -> datetime:
    return moment + (datetime.min.replace(tzinfo=UTC) - moment) % step


def _enabled(session: TenantSession, endpoint_id: UUID) -> Endpoint:
    endpoint = found(queries.endpoint(session, endpoint_id))
    if not policy.goes_out(endpoint):
        raise errors.EndpointDisabled("This endpoint is disabled; enable it first.")
    return endpoint


def _body_of(event: CloudEvent) -> str:
    return _body(
        event.type,
        event.time,
        event.data,
        tenant_id=event.tenantid,
        subject=event.subject,
        actor_id=event.actorid,
    )


def _body(type_: str, timestamp: datetime, data: dict[str, Any], **more: object) -> str:
    """As Standard Webhooks recommends it: type, timestamp and data."""
    given = {name: value for name, value in more.items() if value is not None}
    return orjson.dumps({"type": type_, "timestamp": timestamp, **given, "data": data}).decode()
