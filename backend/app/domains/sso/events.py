"""What single sign-on tells: who was refused, which accounts were linked, what was set up."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from app.core.auth_log import AuthEvent
from app.core.events import Event


@dataclass(frozen=True, kw_only=True)
class SsoLoginRefused(AuthEvent):
    """``tenant_id`` is None where nobody can tell which tenant it was about."""

    type: ClassVar[str] = "sso.login_refused"
    target: ClassVar[str] = "reason"
    outcome = "refused"

    tenant_id: UUID | None
    reason: str
    aadsts: str | None = None


@dataclass(frozen=True, kw_only=True)
class SsoLoggedIn(AuthEvent):
    type: ClassVar[str] = "sso.logged_in"
    target: ClassVar[str] = "user_id"

    user_id: UUID
    tenant_id: UUID
    object_id: UUID


@dataclass(frozen=True, kw_only=True)
class IdentityProvisioned(AuthEvent):
    """The directory brought an account with it."""

    type: ClassVar[str] = "sso.provisioned"
    target: ClassVar[str] = "user_id"

    user_id: UUID
    tenant_id: UUID
    role: str


@dataclass(frozen=True, kw_only=True)
class IdentityLinked(AuthEvent):
    """The owner of an account proved that a person in the directory is the same one."""

    type: ClassVar[str] = "sso.linked"
    target: ClassVar[str] = "user_id"

    user_id: UUID
    tenant_id: UUID
    object_id: UUID


@dataclass(frozen=True, kw_only=True)
class ConnectionEnded(AuthEvent):
    """The directory gives no more tokens; ``sessions`` is how many ended by it."""

    type: ClassVar[str] = "sso.connection_ended"
    target: ClassVar[str] = "user_id"

    user_id: UUID
    tenant_id: UUID
    status: str
    aadsts: str | None
    sessions: int


@dataclass(frozen=True, kw_only=True)
class _OfTenant(Event):
    target: ClassVar[str] = "tenant_id"

    tenant_id: UUID


@dataclass(frozen=True, kw_only=True)
class SsoConfigured(_OfTenant):
    """``changed`` are the names of what was given; secrets are told by name alone."""

    type: ClassVar[str] = "sso.configured"

    changed: list[str]
    state: str


@dataclass(frozen=True, kw_only=True)
class SsoTested(_OfTenant):
    type: ClassVar[str] = "sso.tested"

    object_id: UUID


@dataclass(frozen=True, kw_only=True)
class SsoActivated(_OfTenant):
    type: ClassVar[str] = "sso.activated"

    auth_method: str


@dataclass(frozen=True, kw_only=True)
class SsoRemoved(_OfTenant):
    type: ClassVar[str] = "sso.removed"
