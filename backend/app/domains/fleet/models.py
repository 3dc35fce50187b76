"""Tables of the main database about work on the fleet; only the platform's role sees them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import MainModel
from app.core.stamps import Identified, active_while


class RunStatus(StrEnum):
    REQUESTED = "requested"  # an administrator ordered it, and a job is bound to carry it out
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # it came to its end, and tenants are left that failed or were not reached
    STOPPED = "stopped"  # its failures were spent before its end
    INTERRUPTED = "interrupted"  # its process ended before it did


class ResultStatus(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNREACHED = "unreached"  # its server was away
    GONE = "gone"  # the tenant was deleted before its turn


class MigrationRun(Identified, MainModel):
    """One migration of the fleet. ``plan`` holds the names of the waves and the limits.

    Of one that is requested it holds the ``order``, until a worker has planned it.
    """

    __tablename__ = "migration_runs"
    __table_args__ = (
        Index(
            "uq_migration_runs_requested",
            "status",
            unique=True,
            postgresql_where=text("status = 'requested'"),
        ),
    )

    target: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, default=RunStatus.RUNNING)
    plan: Mapped[dict[str, Any]] = mapped_column(JSONB)
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    failure: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = active_while("status IN ('requested', 'running')")


class MigrationResult(MainModel):
    """What becomes of one tenant in one run; written as pending with the plan."""

    __tablename__ = "migration_results"

    run_id: Mapped[UUID] = mapped_column(
        ForeignKey("migration_runs.id", ondelete="CASCADE"), primary_key=True
    )
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True, index=True)
    wave: Mapped[int]
    place: Mapped[int]
    status: Mapped[str] = mapped_column(Text, default=ResultStatus.PENDING)
    source: Mapped[str | None] = mapped_column(Text)
    target: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    seconds: Mapped[float | None]
    error: Mapped[str | None] = mapped_column(Text)
