"""The trail: the same columns in both planes."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Index, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import MainModel
from app.tenancy.models import TenantModel


class _Entry:
    """``type`` is the event's; ``target`` the id of what it was about; ``details`` its fields."""

    id: Mapped[UUID] = mapped_column(primary_key=True)
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    type: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(Text)
    user_id: Mapped[UUID | None]
    session_id: Mapped[UUID | None]
    address: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    task: Mapped[str | None] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)


class TenantEntry(_Entry, TenantModel):
    """Something that happened to a tenant's own data."""

    __tablename__ = "audit_entries"


class PlatformEntry(_Entry, MainModel):
    """Something that happened in the main database; of a tenant, where it has one."""

    __tablename__ = "platform_audit_entries"
    __table_args__ = (Index("ix_platform_audit_entries_tenant_id", "tenant_id", "id"),)

    tenant_id: Mapped[UUID | None]
