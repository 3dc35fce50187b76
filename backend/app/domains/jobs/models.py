"""The table of the main database about due work."""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import MainModel
from app.core.stamps import Identified, active_while


class JobState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    # By an operator, or because its tenant was deleted.
    DROPPED = "dropped"


OPEN: Final = (JobState.WAITING, JobState.RUNNING)
# The names of jobs that only show that their queue is worked at; the queue follows.
CANARY: Final = "jobs.canary_"
_IS_OPEN: Final = text("state IN ('waiting', 'running')")


class Job(Identified, MainModel):
    """A task to be run, with its arguments: ids, never secrets.

    ``due_at`` says when a worker may take it; while one has it, when its lease runs out.
    ``hinted_at`` says when a worker was last told of it. Of one task and tenant, a ``slot`` is
    given once. ``asked_by`` is on whose behalf it is done.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(
            "state IN ('waiting', 'running', 'done', 'failed', 'dropped')", name="state"
        ),
        Index("ix_jobs_open", "queue", "due_at", postgresql_where=_IS_OPEN),
        Index("ix_jobs_finished_at", "finished_at"),
        Index("ix_jobs_failed", "id", postgresql_where=text("state = 'failed'")),
        Index(
            "uq_jobs_slot",
            "name",
            "tenant_id",
            "slot",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("slot IS NOT NULL"),
        ),
    )

    name: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(Text)
    # No foreign key: a row may outlive its tenant, and ends then.
    tenant_id: Mapped[UUID | None]
    slot: Mapped[str | None] = mapped_column(Text)
    asked_by: Mapped[UUID | None]
    arguments: Mapped[dict[str, str]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(Text, default=JobState.WAITING)
    active: Mapped[bool] = active_while("state IN ('waiting', 'running')")
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    hinted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    attempts: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Canary(MainModel):
    """When a job last came through a queue: from the scheduler by Redis to a worker."""

    __tablename__ = "canaries"

    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    ran_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
