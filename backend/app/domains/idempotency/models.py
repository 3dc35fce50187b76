"""Keys and what was answered to them: the same columns in both planes."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, ForeignKey, Index, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import MainModel
from app.core.stamps import Identified, active_while
from app.tenancy.models import TenantModel


class KeyColumns(Identified):
    """``active`` while its request runs: until ``lease_ends_at``, then whoever repeats it may.

    ``fingerprint`` is the request's digest, ``content`` that of the file in it; the ``answer`` is
    sealed. After ``expires_at`` the row is as good as gone.
    """

    user_id: Mapped[UUID]
    key_hash: Mapped[bytes] = mapped_column(LargeBinary)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    content: Mapped[bytes | None] = mapped_column(LargeBinary)
    attempt: Mapped[int] = mapped_column(default=1)
    lease_ends_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    answer: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = active_while("answer IS NULL")


class TenantKey(KeyColumns, TenantModel):
    """Of a request that writes to the tenant's own database."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        Index("uq_idempotency_keys_user_id_key_hash", "user_id", "key_hash", unique=True),
    )


class MainKey(KeyColumns, MainModel):
    """Of a request that writes to the main database; for a tenant, where it names one."""

    __tablename__ = "platform_idempotency_keys"
    __table_args__ = (
        Index(
            "uq_platform_idempotency_keys_key_hash",
            "user_id",
            "tenant_id",
            "key_hash",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    tenant_id: Mapped[UUID | None] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
