"""Reads of the feed."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

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
