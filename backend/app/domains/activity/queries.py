"""Reads of the feed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CursorResult, delete, select

from app.domains.activity.models import Activity
from app.tenancy.sessions import TenantSession


def activities(
    session: TenantSession, *, after: UUID | None, type_: str | None, limit: int
) -> Sequence[Activity]:
    """Newest first, at most ``limit``, after the id given."""
    statement = select(Activity).order_by(Activity.id.desc()).limit(limit)
    if type_ is not None:
        statement = statement.where(Activity.type == type_)
    if after is not None:
        statement = statement.where(Activity.id < after)
    return session.scalars(statement).all()


def newest(session: TenantSession) -> datetime | None:
    """When what came last happened."""
    return session.scalar(select(Activity.occurred_at).order_by(Activity.id.desc()).limit(1))


def purge(session: TenantSession, *, before: datetime, limit: int) -> int:
    """Deletes what happened before, of the oldest; how many, up to the limit."""
    oldest = select(Activity.id).order_by(Activity.id).limit(limit)
    done = session.execute(
        delete(Activity).where(Activity.id.in_(oldest), Activity.occurred_at < before)
    )
    return int(cast("CursorResult[Any]", done).rowcount)
