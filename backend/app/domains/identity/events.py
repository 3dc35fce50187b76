"""What identity tells: who signed in, who was refused, which session ended and why."""

from dataclasses import dataclass
from typing import ClassVar, Literal
from uuid import UUID

from app.core.auth_log import AuthEvent

Ended = Literal["logged_out", "ended", "password_changed", "password_reset", "replayed"]


@dataclass(frozen=True, kw_only=True)
class SessionCreated(AuthEvent):
    type: ClassVar[str] = "session.created"
    target: ClassVar[str] = "session_id"

    session_id: UUID
    user_id: UUID
    method: str


@dataclass(frozen=True, kw_only=True)
class SessionExtended(AuthEvent):
    """A tenant's directory authenticated a session that was there already."""

    type: ClassVar[str] = "session.extended"
    target: ClassVar[str] = "session_id"

    session_id: UUID
    user_id: UUID
    tenant_id: UUID


@dataclass(frozen=True, kw_only=True)
class SessionRevoked(AuthEvent):
    type: ClassVar[str] = "session.revoked"
    public_version = 1
    target: ClassVar[str] = "session_id"

    session_id: UUID
    user_id: UUID
    reason: Ended


@dataclass(frozen=True, kw_only=True)
class SessionRefreshed(AuthEvent):
    """Logged, and not recorded: each session does so every few minutes."""

    type: ClassVar[str] = "session.refreshed"
    target: ClassVar[str] = "session_id"

    session_id: UUID
    user_id: UUID


@dataclass(frozen=True, kw_only=True)
class RefreshRejected(AuthEvent):
    """Logged, and not recorded: the token is of no session that lives."""

    type: ClassVar[str] = "refresh.rejected"
    target: ClassVar[str] = "session_id"
    outcome = "refused"

    session_id: UUID | None
    reason: Literal["unknown", "session_ended"]


@dataclass(frozen=True, kw_only=True)
class RefreshReplayed(AuthEvent):
    """A used refresh token came back after the grace: it may have been stolen."""

    type: ClassVar[str] = "refresh.replayed"
    target: ClassVar[str] = "session_id"
    outcome = "refused"

    session_id: UUID


@dataclass(frozen=True, kw_only=True)
class LoginFailed(AuthEvent):
    """``account`` is a pseudonym of the e-mail address; ``user_id`` is None where nobody has it."""

    type: ClassVar[str] = "login.failed"
    target: ClassVar[str] = "account"
    outcome = "refused"

    account: str
    user_id: UUID | None
    reason: Literal["unknown_account", "inactive", "no_password", "wrong_password"]


@dataclass(frozen=True, kw_only=True)
class PasswordChanged(AuthEvent):
    """By somebody who knew the former one."""

    type: ClassVar[str] = "password.changed"
    public_version = 1
    target: ClassVar[str] = "user_id"

    user_id: UUID


@dataclass(frozen=True, kw_only=True)
class PasswordChangeRefused(AuthEvent):
    """Somebody who is signed in did not know the present password."""

    type: ClassVar[str] = "password.change_refused"
    target: ClassVar[str] = "user_id"
    outcome = "refused"

    user_id: UUID


@dataclass(frozen=True, kw_only=True)
class PasswordReset(AuthEvent):
    """By the link of a mail."""

    type: ClassVar[str] = "password.reset"
    public_version = 1
    target: ClassVar[str] = "user_id"

    user_id: UUID


@dataclass(frozen=True, kw_only=True)
class EmailVerified(AuthEvent):
    """It is proven that the account's address is its owner's."""

    type: ClassVar[str] = "email.verified"
    target: ClassVar[str] = "user_id"

    user_id: UUID


@dataclass(frozen=True, kw_only=True)
class KeyRotated(AuthEvent):
    """A signing key was made, became the one that signs, or was removed."""

    type: ClassVar[str] = "key.rotated"
    target: ClassVar[str] = "kid"

    kid: str
    action: Literal["make", "activate", "remove"]
