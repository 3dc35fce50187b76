"""Tables of the tenant plane about webhooks."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core import clock
from app.core.ids import new_id
from app.core.sealed_columns import SealedColumn
from app.core.stamps import Identified, active_while
from app.tenancy.models import TenantModel


class DisabledReason(StrEnum):
    """Why an endpoint gets nothing: somebody chose so, it failed for days, it answered 410."""

    MANUAL = "manual"
    FAILING = "failing"
    GONE = "gone"


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    # Its endpoint was disabled when its time came; it can be sent later.
    SKIPPED = "skipped"


class Endpoint(Identified, TenantModel):
    """Where a tenant wants its events sent, and which.

    The former secret signs as well until ``former_secret_ends_at``.
    ``failing_since`` is the time of the first failure after the last success.
    """

    __tablename__ = "webhook_endpoints"

    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="")
    event_types: Mapped[list[str]] = mapped_column(ARRAY(Text))
    sealed_secret: Mapped[str] = mapped_column(Text)
    sealed_former_secret: Mapped[str | None] = mapped_column(Text)
    former_secret_ends_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    failing_since: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = active_while("disabled_reason IS NULL")

    @property
    def enabled(self) -> bool:
        return self.disabled_reason is None


def secret_context(endpoint_id: UUID) -> str:
    """What the secrets of an endpoint are sealed for."""
    return f"webhook/{endpoint_id}"


SEALED = (
    SealedColumn(Endpoint.sealed_secret, lambda row: secret_context(row.id)),
    SealedColumn(Endpoint.sealed_former_secret, lambda row: secret_context(row.id)),
)


class Message(TenantModel):
    """What is sent, byte for byte, under the event's own id."""

    __tablename__ = "webhook_messages"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default=clock.now, index=True
    )


class Delivery(Identified, TenantModel):
    """A message on its way to one endpoint. A replay is another delivery of the same message.

    While it is pending, ``next_attempt_at`` says from when on it may be attempted: during an
    attempt, from when on the attempt counts as interrupted.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'delivered', 'failed', 'skipped')", name="state"),
        Index("ix_webhook_deliveries_endpoint_id", "endpoint_id", "id"),
        Index(
            "ix_webhook_deliveries_pending",
            "next_attempt_at",
            postgresql_where=text("state = 'pending'"),
        ),
    )

    endpoint_id: Mapped[UUID] = mapped_column(
        ForeignKey("webhook_endpoints.id", ondelete="CASCADE")
    )
    message_id: Mapped[UUID] = mapped_column(
        ForeignKey("webhook_messages.id", ondelete="CASCADE"), index=True
    )
    replay: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(Text, default=DeliveryState.PENDING)
    active: Mapped[bool] = active_while("state = 'pending'")
    attempt_count: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    message: Mapped[Message] = relationship(lazy="joined", innerjoin=True)

    @property
    def event_type(self) -> str:
        return self.message.type


class Attempt(TenantModel):
    """One try, written before it begins: without ``finished_at`` it runs, or its process died.

    ``error`` is one of a few words, where there was no answer with a status of 200 to 299.
    """

    __tablename__ = "webhook_attempts"
    __table_args__ = (
        Index("uq_webhook_attempts_delivery_id_number", "delivery_id", "number", unique=True),
        Index(
            "ix_webhook_attempts_running",
            "started_at",
            postgresql_where=text("finished_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    delivery_id: Mapped[UUID] = mapped_column(
        ForeignKey("webhook_deliveries.id", ondelete="CASCADE")
    )
    number: Mapped[int]
    url: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=clock.now)
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    status: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)
    detail: Mapped[str | None] = mapped_column(Text)
    answer: Mapped[str | None] = mapped_column(Text)

    @property
    def milliseconds(self) -> int | None:
        if self.finished_at is None:
            return None
        return round((self.finished_at - self.started_at).total_seconds() * 1000)
