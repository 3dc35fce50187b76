"""The columns that every table of either plane shares."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Computed, DateTime
from sqlalchemy.orm import Mapped, mapped_column

from app.core import clock, ids


class Stamped:
    """When a row was made and last changed, in UTC."""

    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=clock.now)
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default=clock.now, onupdate=clock.now
    )


class Identified(Stamped):
    """A row with an id that sorts by time."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=ids.new_id)


def active_while(condition: str) -> Mapped[bool]:
    """``active`` of a table with a column that says it already; the database keeps them equal."""
    return mapped_column(Computed(condition, persisted=True))
