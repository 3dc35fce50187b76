"""The tables of the main database about backups and exports."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import MainModel
from app.core.stamps import Identified, active_while


class BackupState(StrEnum):
    REQUESTED = "requested"  # over HTTP, and a job is bound to take it
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


class Backup(Identified, MainModel):
    """One backup of one tenant; the store has its manifest, by which it is restored.

    ``proven_at`` is when it was last restored and found equal, ``proof_failure`` why it was not.
    """

    __tablename__ = "backups"
    __table_args__ = (
        CheckConstraint("state IN ('requested', 'running', 'complete', 'failed')", name="state"),
        CheckConstraint("origin IN ('asked', 'scheduled')", name="origin"),
        Index("ix_backups_tenant_id", "tenant_id", "id"),
        Index("ix_backups_failed", "finished_at", postgresql_where=text("state = 'failed'")),
        Index(
            "uq_backups_requested",
            "tenant_id",
            unique=True,
            postgresql_where=text("state = 'requested'"),
        ),
    )

    # No foreign key: a backup outlives its tenant.
    tenant_id: Mapped[UUID]
    origin: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, default=BackupState.RUNNING)
    active: Mapped[bool] = active_while("state = 'complete'")
    revision: Mapped[str | None] = mapped_column(Text)
    rows: Mapped[int | None] = mapped_column(BigInteger)
    files: Mapped[int | None] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    failure: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    proven_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    proof_failure: Mapped[str | None] = mapped_column(Text)


class ExportState(StrEnum):
    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


class Export(Identified, MainModel):
    """One archive of all of a tenant's data; ``key`` is where the store has it until it expires."""

    __tablename__ = "exports"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'ready', 'failed')", name="state"),
        Index(
            "uq_exports_pending",
            "tenant_id",
            unique=True,
            postgresql_where=text("state = 'pending'"),
        ),
        Index("ix_exports_tenant_id", "tenant_id", "id"),
    )

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    requested_by: Mapped[UUID]
    state: Mapped[ExportState] = mapped_column(Text, default=ExportState.PENDING)
    active: Mapped[bool] = active_while("state = 'ready'")
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    failure: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))

    @property
    def key(self) -> str:
        return f"exports/{self.tenant_id.hex}/{self.id.hex}"
