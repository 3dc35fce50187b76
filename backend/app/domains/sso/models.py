"""Tables of the main database about directories and the people in them."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, DateTime, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core import clock, ids
from app.core.db import MainModel
from app.core.sealed_columns import SealedColumn
from app.core.stamps import Identified, active_while


class ConfigState(StrEnum):
    DRAFT = "draft"
    TESTED = "tested"  # somebody has signed in by it, for a test
    ACTIVE = "active"


class TenantSSOConfig(Identified, MainModel):
    """A tenant's application in its directory; a tenant has one.

    ``version`` counts the changes of what a sign-in depends on; ``failure`` is what the directory
    last said against the application itself. ``group_roles`` maps a group's id to a role.
    """

    __tablename__ = "tenant_sso_configs"
    __table_args__ = (UniqueConstraint("tenant_id"),)

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    directory_id: Mapped[UUID]
    client_id: Mapped[UUID]
    sealed_client_secret: Mapped[str | None] = mapped_column(Text)
    sealed_certificate: Mapped[str | None] = mapped_column(Text)
    credential_expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    group_roles: Mapped[dict[str, str]] = mapped_column(JSONB, default=dict)
    response_mode: Mapped[str] = mapped_column(Text, default="query")
    state: Mapped[str] = mapped_column(Text, default=ConfigState.DRAFT)
    version: Mapped[int] = mapped_column(default=1)
    failure: Mapped[str | None] = mapped_column(Text)
    tested_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    activated_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    active: Mapped[bool] = active_while("state = 'active'")


class Status(StrEnum):
    CONNECTED = "connected"
    STEP_UP = "step_up"  # the directory wants a further sign-in before it gives more tokens
    EXPIRED = "expired"  # nobody used the connection for too long
    REVOKED = "revoked"  # the directory took it back, or disabled the account


class UserAzureIdentity(Identified, MainModel):
    """A person in a tenant's directory, by the ids that nobody can change, and the account here.

    ``sealed_cache`` is MSAL's, whole; who stores one names the ``version`` that he or she read.
    ``refreshing_until`` is the lease of whoever asks the directory just now; before ``refresh_at``
    no job does.
    """

    __tablename__ = "user_azure_identities"
    __table_args__ = (
        UniqueConstraint("tenant_id", "directory_id", "object_id"),
        UniqueConstraint("tenant_id", "user_id"),
        Index(
            "ix_user_azure_identities_access_expires_at",
            "access_expires_at",
            postgresql_where=text("status = 'connected'"),
        ),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    directory_id: Mapped[UUID]
    object_id: Mapped[UUID]
    status: Mapped[str] = mapped_column(Text, default=Status.CONNECTED)
    sealed_cache: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(default=1)
    access_expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    refresh_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    refreshing_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_refreshed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_login_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    claims_challenge: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = active_while("status = 'connected'")


class SSOAttempt(MainModel):
    """A sign-in that failed; ``aadsts`` is Entra's number, ``account`` what the token called it."""

    __tablename__ = "sso_attempts"
    __table_args__ = (Index("ix_sso_attempts_tenant_id", "tenant_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=ids.new_id)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    reason: Mapped[str] = mapped_column(Text)
    aadsts: Mapped[str | None] = mapped_column(Text)
    account: Mapped[str | None] = mapped_column(Text)
    address: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=clock.now)


class SSORefreshTotal(MainModel):
    """How often renewing tokens ended so, since the installation was made."""

    __tablename__ = "sso_refresh_totals"

    outcome: Mapped[str] = mapped_column(Text, primary_key=True)
    total: Mapped[int] = mapped_column(BigInteger)


SEALED = tuple(
    SealedColumn(column, lambda row: str(row.tenant_id))
    for column in (
        TenantSSOConfig.sealed_client_secret,
        TenantSSOConfig.sealed_certificate,
        UserAzureIdentity.sealed_cache,
    )
)
