"""What happens to the audit trail itself."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from app.core.events import Event


@dataclass(frozen=True, kw_only=True)
class TrailSealed(Event):
    """A checkpoint: a tenant's trail in this database ends with this hash; signed.

    It lies in the platform's trail, out of reach of who can change the tenant's.
    """

    type: ClassVar[str] = "audit.sealed"
    target: ClassVar[str] = "tenant_id"

    tenant_id: UUID
    database: str
    position: int
    hash: str
    sealed_at: str
    key: str
    signature: str


@dataclass(frozen=True, kw_only=True)
class _Seen(Event):
    """``filters`` are those that were given."""

    target: ClassVar[str] = "tenant_id"

    tenant_id: UUID | None
    filters: dict[str, str | list[str]]


@dataclass(frozen=True, kw_only=True)
class TrailRead(_Seen):
    """A page of it was read."""

    type: ClassVar[str] = "audit.read"

    entries: int


@dataclass(frozen=True, kw_only=True)
class TrailExported(_Seen):
    """Told before the first byte is sent."""

    type: ClassVar[str] = "audit.exported"

    format: str


@dataclass(frozen=True, kw_only=True)
class PersonErased(Event):
    """The personal part of so many entries of this trail is gone; each of them names this one."""

    type: ClassVar[str] = "audit.erased"
    target: ClassVar[str] = "person"

    person: str
    entries: int
