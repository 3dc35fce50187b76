"""Reads and claims of the outbox, the inbox and what could not be delivered."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import CursorResult, Row, delete, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from app.core.db import MainSession, PlaneSession
from app.domains.outbox.models import (
    Lag,
    LetterState,
    MainHandled,
    MainOutgoing,
    Outgoing,
    TenantHandled,
    TenantOutgoing,
    Undelivered,
)

# Of one database, "outbox": held by the relay that sends from it, until its transaction ends.
_HOLD: Final = text("SELECT pg_try_advisory_xact_lock(7309935)")

# Written out, because every event pays for it. It needs no right to read.
_CLAIM: Final = (
    " (consumer, event_id)"
    " SELECT * FROM unnest(CAST(:consumers AS text[]), CAST(:event_ids AS uuid[]))"
    " ON CONFLICT DO NOTHING"
)
_CLAIM_IN_TENANT: Final = text(f"INSERT INTO inbox{_CLAIM}")
_CLAIM_IN_MAIN: Final = text(f"INSERT INTO platform_inbox{_CLAIM}")


def hold(session: PlaneSession) -> bool:
    """Whether this transaction is the only one now that sends from the session's database."""
    return bool(session.scalar(_HOLD))


def _outgoing(session: PlaneSession) -> type[MainOutgoing] | type[TenantOutgoing]:
    return MainOutgoing if isinstance(session, MainSession) else TenantOutgoing


def _handled(session: PlaneSession) -> type[MainHandled] | type[TenantHandled]:
    return MainHandled if isinstance(session, MainSession) else TenantHandled


def unsent_for_change(session: PlaneSession, *, limit: int) -> Sequence[Outgoing]:
    """In the order in which they were told."""
    table: Any = _outgoing(session)
    return session.scalars(
        select(table)
        .where(table.sent_at.is_(None))
        .order_by(table.position)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()


def mark_sent(session: PlaneSession, ids: Collection[UUID]) -> None:
    table: Any = _outgoing(session)
    session.execute(
        update(table).where(table.id.in_(ids)).values(sent_at=func.now()),
        execution_options={"synchronize_session": False},
    )


def purge_sent(session: PlaneSession, *, kept: timedelta, limit: int) -> int:
    """Deletes events that were sent, and notes of handled ones twice as old; how many at most."""
    out: Any = _outgoing(session)
    old = select(out.id).where(out.sent_at < func.now() - kept).limit(limit)
    sent = session.execute(delete(out).where(out.id.in_(old)))
    noted: Any = _handled(session)
    too_old = (
        select(noted.consumer, noted.event_id)
        .where(noted.handled_at < func.now() - 2 * kept)
        .limit(limit)
        .subquery()
    )
    notes = session.execute(
        delete(noted).where(
            noted.consumer == too_old.c.consumer, noted.event_id == too_old.c.event_id
        )
    )
    return max(_count(sent), _count(notes))


def claim(session: PlaneSession, *, consumer: str, event_id: UUID) -> bool:
    """Notes that the consumer has the event; False where it had it before.

    Of two transactions that claim the same event, the second waits for the end of the first.
    """
    return bool(claim_all(session, [(consumer, event_id)]))


def claim_all(session: PlaneSession, notes: Collection[tuple[str, UUID]]) -> int:
    """The same for consumers and events; how many of them are new."""
    names, ids = [name for name, _ in notes], [event_id for _, event_id in notes]
    statement = _CLAIM_IN_MAIN if isinstance(session, MainSession) else _CLAIM_IN_TENANT
    values = {"consumers": names, "event_ids": ids}
    return _count(session.execute(statement, values, execution_options={"preserve_rowcount": True}))


# What could not be delivered.


def keys_held_back(
    session: MainSession, *, keys: Collection[str], event_ids: Collection[UUID]
) -> set[str]:
    """Those with something parked, and those with one of these events that was put aside."""
    statement = (
        select(Undelivered.key)
        .where(
            or_(
                Undelivered.key.in_(keys) & (Undelivered.state == LetterState.PARKED),
                Undelivered.event_id.in_(event_ids),
            )
        )
        .distinct()
    )
    return set(session.scalars(statement))


def held_back(session: MainSession, *, key: str, event_id: UUID) -> dict[str | None, bool]:
    """The consumers that this event waits for already (True), or has to wait behind others for."""
    rows = session.execute(
        select(Undelivered.consumer, func.bool_or(Undelivered.event_id == event_id))
        .where(
            or_(
                (Undelivered.key == key) & (Undelivered.state == LetterState.PARKED),
                Undelivered.event_id == event_id,
            )
        )
        .group_by(Undelivered.consumer)
    )
    return {consumer: own for consumer, own in rows}  # noqa: C416  # rows are no pairs


def put_aside(session: MainSession, values: dict[str, Any]) -> None:
    session.execute(insert(Undelivered).values(values).on_conflict_do_nothing())


def due_heads(session: MainSession, *, limit: int) -> Sequence[UUID]:
    """Of each consumer and key the first parked event, if its time has come."""
    earlier = aliased(Undelivered)
    first = ~exists().where(
        earlier.state == LetterState.PARKED,
        earlier.consumer.is_not_distinct_from(Undelivered.consumer),
        earlier.key == Undelivered.key,
        earlier.position < Undelivered.position,
    )
    return session.scalars(
        select(Undelivered.id)
        .where(Undelivered.state == LetterState.PARKED, Undelivered.due_at <= func.now(), first)
        .order_by(Undelivered.due_at)
        .limit(limit)
    ).all()


def due_for_change(session: MainSession, letter_id: UUID) -> Undelivered | None:
    """Unless another process has it, or had it meanwhile."""
    return session.scalar(
        select(Undelivered)
        .where(
            Undelivered.id == letter_id,
            Undelivered.state == LetterState.PARKED,
            Undelivered.due_at <= func.now(),
        )
        .with_for_update(skip_locked=True)
    )


def letter_for_change(session: MainSession, letter_id: UUID) -> Undelivered | None:
    return session.get(Undelivered, letter_id, with_for_update=True)


def letters(
    session: MainSession,
    *,
    states: Collection[LetterState],
    limit: int,
    after: UUID | None = None,
    tenant_id: UUID | None = None,
    consumer: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Sequence[Undelivered]:
    """The oldest first, at most ``limit``, after the id given."""
    statement = select(Undelivered).where(Undelivered.state.in_(states))
    conditions = {
        Undelivered.tenant_id: tenant_id,
        Undelivered.consumer: consumer,
    }
    for column, value in conditions.items():
        if value is not None:
            statement = statement.where(column == value)
    if since is not None:
        statement = statement.where(Undelivered.created_at >= since)
    if until is not None:
        statement = statement.where(Undelivered.created_at < until)
    if after is not None:
        statement = statement.where(Undelivered.id > after)
    return session.scalars(statement.order_by(Undelivered.id).limit(limit)).all()


# Figures.


def put_lags(session: MainSession, lags: Mapping[tuple[str, int], int]) -> None:
    rows = [
        {"topic": topic, "partition": partition, "messages": messages, "measured_at": func.now()}
        for (topic, partition), messages in lags.items()
    ]
    statement = insert(Lag).values(rows)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[Lag.topic, Lag.partition],
            set_={
                "messages": statement.excluded.messages,
                "measured_at": statement.excluded.measured_at,
            },
        )
    )


def backlog(session: MainSession) -> Row[int, int, int, float, int, float]:
    """Sums over all tenants, which the application's role cannot read one by one."""
    return session.execute(
        text(
            "SELECT unsent, parked, dead, oldest_parked_seconds, lag, lag_age_seconds"
            " FROM event_backlog()"
        )
    ).one()


def _count(result: Any) -> int:
    return int(cast("CursorResult[Any]", result).rowcount)
