"""The trail: the same columns in both planes."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Index, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import MainModel
from app.tenancy.models import TenantModel


def _indexes(table: str) -> Iterator[Index]:
    yield Index(f"uq_{table}_position", "position", unique=True)
    yield Index(
        f"ix_{table}_unsealed",
        "recorded_at",
        "id",
        postgresql_where=text("position IS NULL"),
    )
    for column in ("type", "target", "user_id"):
        yield Index(f"ix_{table}_{column}", column, "id")
    yield Index(
        f"ix_{table}_on_behalf_of",
        "on_behalf_of",
        "id",
        postgresql_where=text("on_behalf_of IS NOT NULL"),
    )


class Entry:
    """``type`` is the event's; ``target`` the id of what it was about; ``details`` its fields.

    ``position`` and ``hash`` come with the seal. ``address`` and ``details`` are in the chain by
    ``commitment``, a digest with the ``salt``: they can be erased, by the act of entry
    ``erased_by``, and leave it whole.
    """

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
    on_behalf_of: Mapped[UUID | None]
    salt: Mapped[UUID | None]
    commitment: Mapped[bytes | None] = mapped_column(LargeBinary)
    position: Mapped[int | None] = mapped_column(BigInteger)
    hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    erased_by: Mapped[UUID | None]

    # In which trail it is.
    trail: ClassVar[str]

    @property
    def hash_hex(self) -> str | None:
        return None if self.hash is None else self.hash.hex()

    @property
    def address_for_tenant(self) -> str | None:
        """Where the platform's people work is no tenant's to know."""
        return None if self.details.get("by_platform") else self.address


class TenantEntry(Entry, TenantModel):
    """Something that happened to a tenant's own data."""

    __tablename__ = "audit_entries"
    trail = "tenant"
    __table_args__ = tuple(_indexes("audit_entries"))


class PlatformEntry(Entry, MainModel):
    """Something that happened in the main database; of a tenant, where it has one."""

    __tablename__ = "platform_audit_entries"
    trail = "platform"
    __table_args__ = (
        *_indexes("platform_audit_entries"),
        Index("ix_platform_audit_entries_tenant_id", "tenant_id", "id"),
        Index(
            "ix_platform_audit_entries_checkpoints",
            "tenant_id",
            "id",
            postgresql_where=text("type = 'audit.sealed'"),
        ),
    )

    tenant_id: Mapped[UUID | None]
