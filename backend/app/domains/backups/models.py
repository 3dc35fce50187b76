"""The table of the main database about backups."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import MainModel
from app.core.stamps import Identified, active_while


class BackupState(StrEnum):
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


class Backup(Identified, MainModel):
    """One backup of one tenant; the store has its manifest, by which it is restored.

    ``proven_at`` is when it was last restored and found equal, ``proof_failure`` why it was not.
    """

    __tablename__ = "backups"
    __table_args__ = (
        CheckConstraint("state IN ('running', 'complete', 'failed')", name="state"),
        CheckConstraint("origin IN ('asked', 'scheduled')", name="origin"),
        Index("ix_backups_tenant_id", "tenant_id", "id"),
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
