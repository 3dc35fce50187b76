"""Reads of the audit trail."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

from app.domains.audit.models import TenantEntry
from app.tenancy.sessions import TenantSession


def entries(session: TenantSession, *, after: UUID | None, limit: int) -> Sequence[TenantEntry]:
    """Newest first, at most ``limit``, after the id given."""
    statement = select(TenantEntry).order_by(TenantEntry.id.desc()).limit(limit)
    if after is not None:
        statement = statement.where(TenantEntry.id < after)
    return session.scalars(statement).all()
