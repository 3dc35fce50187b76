"""The outbox and the inbox, in both planes alike; in the main one, what could not be delivered."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, Index, LargeBinary, Text
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from app.core.db import MainModel
from app.core.stamps import Identified, active_while
from app.tenancy.models import TenantModel

_NOT_SENT: Final = sql("sent_at IS NULL")


class _Outgoing:
    """An event that waits to be sent, or was. ``position`` orders those of one database."""

    __tablename__: str

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Index, ...]:
        name = cls.__tablename__
        return (
            Index(f"ix_{name}_unsent", "position", postgresql_where=_NOT_SENT),
            Index(f"ix_{name}_sent_at", "sent_at"),
        )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    type: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    actor_id: Mapped[UUID | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    sent_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class TenantOutgoing(_Outgoing, TenantModel):
    __tablename__ = "outbox"


class MainOutgoing(_Outgoing, MainModel):
    """``key`` is its tenant's id, else a user's: of one key, events stay in order."""

    __tablename__ = "platform_outbox"

    tenant_id: Mapped[UUID | None]
    key: Mapped[str] = mapped_column(Text)


Outgoing = TenantOutgoing | MainOutgoing


class _Handled:
    """That a handler has had an event, written in the transaction of what it did about it."""

    consumer: Mapped[str] = mapped_column(Text, primary_key=True)
    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    handled_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=sql("now()"), index=True
    )


class TenantHandled(_Handled, TenantModel):
    __tablename__ = "inbox"


class MainHandled(_Handled, MainModel):
    __tablename__ = "platform_inbox"


class LetterState(StrEnum):
    PARKED = "parked"
    DEAD = "dead"


class Undelivered(Identified, MainModel):
    """An event that a handler failed at, waits behind such a one, or was given up: a dead letter.

    ``consumer`` and ``event_id`` are None where the bytes were no event. Where it came from by
    Kafka, ``topic``, ``partition`` and ``offset`` say where it lies there.
    """

    __tablename__ = "undelivered_events"
    __table_args__ = (
        CheckConstraint("state IN ('parked', 'dead')", name="state"),
        Index("uq_undelivered_events_event", "consumer", "event_id", unique=True),
        Index(
            "uq_undelivered_events_undecodable",
            "topic",
            "partition",
            "offset",
            sql("md5(payload)"),
            unique=True,
            postgresql_where=sql("event_id IS NULL"),
        ),
        Index(
            "ix_undelivered_events_parked",
            "consumer",
            "key",
            "position",
            postgresql_where=sql("state = 'parked'"),
        ),
        Index("ix_undelivered_events_dead", "id", postgresql_where=sql("state = 'dead'")),
    )

    position: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    consumer: Mapped[str | None] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    event_id: Mapped[UUID | None]
    type: Mapped[str | None] = mapped_column(Text)
    tenant_id: Mapped[UUID | None]
    topic: Mapped[str] = mapped_column(Text)
    partition: Mapped[int | None]
    offset: Mapped[int | None] = mapped_column(BigInteger)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(Text)
    active: Mapped[bool] = active_while("state = 'parked'")
    attempts: Mapped[int]
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    last_error: Mapped[str | None] = mapped_column(Text)


class Lag(MainModel):
    """How many messages of a partition its consumer had not read when it last looked."""

    __tablename__ = "consumer_lags"

    topic: Mapped[str] = mapped_column(Text, primary_key=True)
    partition: Mapped[int] = mapped_column(primary_key=True)
    messages: Mapped[int] = mapped_column(BigInteger)
    measured_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
