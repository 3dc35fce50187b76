"""What happens to webhook endpoints. Of a URL only the host is told: the rest may hold a secret."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from app.core.events import Event


@dataclass(frozen=True, kw_only=True)
class _EndpointEvent(Event):
    target: ClassVar[str] = "endpoint_id"

    endpoint_id: UUID


@dataclass(frozen=True, kw_only=True)
class EndpointCreated(_EndpointEvent):
    type: ClassVar[str] = "webhook.created"

    host: str
    event_types: list[str]


@dataclass(frozen=True, kw_only=True)
class EndpointUpdated(_EndpointEvent):
    """``changes`` maps each changed property to its former and its new value."""

    type: ClassVar[str] = "webhook.updated"

    changes: dict[str, list[object]]


@dataclass(frozen=True, kw_only=True)
class EndpointDeleted(_EndpointEvent):
    type: ClassVar[str] = "webhook.deleted"

    host: str


@dataclass(frozen=True, kw_only=True)
class SecretRotated(_EndpointEvent):
    """The former secret signs too for ``overlap_seconds``."""

    type: ClassVar[str] = "webhook.secret_rotated"

    overlap_seconds: int


@dataclass(frozen=True, kw_only=True)
class EndpointTested(_EndpointEvent):
    type: ClassVar[str] = "webhook.tested"


@dataclass(frozen=True, kw_only=True)
class DeliveriesReplayed(_EndpointEvent):
    type: ClassVar[str] = "webhook.replayed"

    count: int


@dataclass(frozen=True, kw_only=True)
class EndpointDisabled(_EndpointEvent):
    """A webhook endpoint gets nothing any more.

    ``reason`` is "manual", "failing" (for days without one success) or "gone" (it answered 410).
    """

    type: ClassVar[str] = "webhook.disabled"
    public_version = 1

    reason: str


@dataclass(frozen=True, kw_only=True)
class EndpointEnabled(_EndpointEvent):
    """A webhook endpoint that was disabled gets events again."""

    type: ClassVar[str] = "webhook.enabled"
    public_version = 1
