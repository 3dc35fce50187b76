"""Tables of the main database about people."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, ForeignKey, Index, LargeBinary, Text, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core import clock, ids
from app.core.db import MainModel
from app.core.sealed_columns import SealedColumn
from app.core.stamps import Identified, Stamped, active_while

SIGNING_KEY_CONTEXT: Final = "signing-key"


class User(Identified, MainModel):
    """A person. ``email`` is kept in lower case; without ``password_hash`` there is no password.

    ``email_verified_at`` is when it was proven that the address is this person's.
    """

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str | None] = mapped_column(Text)
    platform_role: Mapped[str | None] = mapped_column(Text)
    # Whose directory the account came from, where it was not made with a password.
    sso_provider: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = mapped_column(default=True)
    email_verified_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    @property
    def email_verified(self) -> bool:
        return self.email_verified_at is not None


class UserSession(Identified, MainModel):
    """One browser or client that somebody signed in with.

    ``method`` is how at first, ``tenant_id`` by which tenant's identity provider; None for a
    password. A session may gather several authentications, and opens a tenant by those alone that
    the tenant takes: ``by_password``, or ``sso_tenant_ids``, by whose directories.
    """

    __tablename__ = "sessions"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    method: Mapped[str] = mapped_column(Text)
    tenant_id: Mapped[UUID | None] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    by_password: Mapped[bool] = mapped_column(default=True)
    sso_tenant_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()), default=list)
    address: Mapped[str | None] = mapped_column(Text)
    user_agent: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=clock.now)
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    active: Mapped[bool] = active_while("revoked_at IS NULL")


class RefreshToken(Stamped, MainModel):
    """One link in a session's chain of refresh tokens; only its SHA-256 is kept."""

    __tablename__ = "refresh_tokens"

    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[UUID] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE"), index=True
    )
    used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    active: Mapped[bool] = active_while("used_at IS NULL")


class AccountToken(Stamped, MainModel):
    """What a mail's link proves an account's address with, once; only its SHA-256 is kept."""

    __tablename__ = "account_tokens"

    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    purpose: Mapped[str] = mapped_column(Text)
    email: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    active: Mapped[bool] = active_while("used_at IS NULL")


class SentMail(MainModel):
    """A mail that went out: nobody gets too many about one topic."""

    __tablename__ = "sent_mails"
    __table_args__ = (Index("ix_sent_mails_address", "address", "created_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=ids.new_id)
    address: Mapped[str] = mapped_column(Text)
    topic: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=clock.now)


class SigningKeyRow(Stamped, MainModel):
    """A key pair: *next*, then *active*, then *retiring*."""

    __tablename__ = "signing_keys"
    __table_args__ = (
        Index(
            "uq_signing_keys_active",
            "state",
            unique=True,
            postgresql_where=text("state = 'active'"),
        ),
    )

    kid: Mapped[str] = mapped_column(Text, primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    public_key: Mapped[str] = mapped_column(Text)
    sealed_private_key: Mapped[str] = mapped_column(Text)
    active: Mapped[bool] = active_while("state = 'active'")


SEALED = (SealedColumn(SigningKeyRow.sealed_private_key, lambda _: SIGNING_KEY_CONTEXT),)
