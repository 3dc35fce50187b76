"""Reads about webhooks."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, delete, exists, func, select
from sqlalchemy.orm import aliased

from app.domains.webhooks.models import Attempt, Delivery, DeliveryState, Endpoint, Message
from app.tenancy.sessions import TenantSession


def endpoints(session: TenantSession) -> Sequence[Endpoint]:
    """The oldest first."""
    return session.scalars(select(Endpoint).order_by(Endpoint.id)).all()


def endpoint(session: TenantSession, endpoint_id: UUID) -> Endpoint | None:
    return session.get(Endpoint, endpoint_id)


def endpoint_for_change(session: TenantSession, endpoint_id: UUID) -> Endpoint | None:
    return session.get(Endpoint, endpoint_id, with_for_update={"key_share": True})


def endpoint_of_delivery_for_change(session: TenantSession, delivery_id: UUID) -> Endpoint | None:
    """Locked before the delivery is, in the order of whoever deletes the endpoint."""
    return session.scalar(
        select(Endpoint)
        .join(Delivery, Delivery.endpoint_id == Endpoint.id)
        .where(Delivery.id == delivery_id)
        .with_for_update(of=Endpoint, key_share=True)
    )


def lock_endpoints(session: TenantSession) -> int:
    """How many there are; nobody adds one until the transaction is over."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtext("webhook_endpoints"))))
    return session.scalar(select(func.count()).select_from(Endpoint)) or 0


def listening(session: TenantSession, event_types: Sequence[str]) -> Sequence[Endpoint]:
    """Those that chose one of the types, enabled or not."""
    chosen = Endpoint.event_types.overlap(event_types)
    return session.scalars(select(Endpoint).where(chosen)).all()


def deliveries(
    session: TenantSession,
    *,
    endpoint_id: UUID,
    state: str | None,
    event_type: str | None,
    after: UUID | None,
    limit: int,
) -> Sequence[Delivery]:
    """Newest first, at most ``limit``, after the id given."""
    statement = select(Delivery).where(Delivery.endpoint_id == endpoint_id)
    if state is not None:
        statement = statement.where(Delivery.state == state)
    if event_type is not None:
        statement = statement.where(Delivery.message.has(Message.type == event_type))
    if after is not None:
        statement = statement.where(Delivery.id < after)
    return session.scalars(statement.order_by(Delivery.id.desc()).limit(limit)).all()


def delivery(session: TenantSession, *, endpoint_id: UUID, delivery_id: UUID) -> Delivery | None:
    return session.scalar(
        select(Delivery).where(Delivery.id == delivery_id, Delivery.endpoint_id == endpoint_id)
    )


def delivery_for_change(session: TenantSession, delivery_id: UUID) -> Delivery | None:
    return session.scalar(
        select(Delivery).where(Delivery.id == delivery_id).with_for_update(of=Delivery)
    )


def attempts(session: TenantSession, delivery_id: UUID) -> Sequence[Attempt]:
    statement = select(Attempt).where(Attempt.delivery_id == delivery_id)
    return session.scalars(statement.order_by(Attempt.number)).all()


def attempt(session: TenantSession, *, delivery_id: UUID, number: int) -> Attempt | None:
    return session.scalar(
        select(Attempt).where(Attempt.delivery_id == delivery_id, Attempt.number == number)
    )


def running_attempts(session: TenantSession, *, since: datetime) -> int:
    """How many have begun since then, and not ended."""
    statement = select(func.count()).select_from(Attempt)
    running = statement.where(Attempt.finished_at.is_(None), Attempt.started_at > since)
    return session.scalar(running) or 0


def messages_to_replay(
    session: TenantSession,
    *,
    endpoint_id: UUID,
    since: datetime,
    until: datetime,
    states: Sequence[str],
    limit: int,
) -> Sequence[UUID]:
    """Of deliveries in these states, without what arrived or is on its way by another delivery."""
    other = aliased(Delivery)
    better = exists().where(
        other.endpoint_id == endpoint_id,
        other.message_id == Delivery.message_id,
        other.state.in_((DeliveryState.PENDING, DeliveryState.DELIVERED)),
        other.state.not_in(states),
    )
    statement = select(Delivery.message_id).where(
        Delivery.endpoint_id == endpoint_id,
        Delivery.created_at >= since,
        Delivery.created_at < until,
        Delivery.state.in_(states),
        ~better,
    )
    return session.scalars(statement.distinct().order_by(Delivery.message_id).limit(limit)).all()


def overdue(session: TenantSession, *, before: datetime, limit: int) -> Sequence[UUID]:
    """Deliveries whose time came before then; the longest overdue first."""
    return session.scalars(
        select(Delivery.id)
        .where(Delivery.state == DeliveryState.PENDING, Delivery.next_attempt_at < before)
        .order_by(Delivery.next_attempt_at)
        .limit(limit)
    ).all()


def any_pending(session: TenantSession) -> bool:
    return bool(session.scalar(select(exists().where(Delivery.state == DeliveryState.PENDING))))


def purge(session: TenantSession, *, before: datetime, limit: int) -> int:
    """Deletes messages that came before then and of which nothing is on its way; how many."""
    result = session.execute(delete(Message).where(Message.id.in_(_old(before).limit(limit))))
    return int(getattr(result, "rowcount", 0))


def _old(before: datetime) -> Select[UUID]:
    pending = exists().where(
        Delivery.message_id == Message.id, Delivery.state == DeliveryState.PENDING
    )
    return select(Message.id).where(Message.created_at < before, ~pending)
