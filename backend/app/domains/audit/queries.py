"""Reads of the audit trail."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

from app.core.db import MainSession
from app.domains.audit.models import PlatformEntry, TenantEntry
from app.tenancy.sessions import TenantSession


def entries(session: TenantSession, *, after: UUID | None, limit: int) -> Sequence[TenantEntry]:
    """Newest first, at most ``limit``, after the id given."""
    statement = select(TenantEntry).order_by(TenantEntry.id.desc()).limit(limit)
    if after is not None:
        statement = statement.where(TenantEntry.id < after)
    return session.scalars(statement).all()


def last_checkpoint(session: MainSession, tenant_id: UUID) -> PlatformEntry | None:
    """Of the tenant's trail, in whatever database it lay."""
    return session.scalar(
        select(PlatformEntry)
        .where(PlatformEntry.tenant_id == tenant_id, PlatformEntry.type == "audit.sealed")
        .order_by(PlatformEntry.id.desc())
        .limit(1)
    )


def of_type(session: MainSession, tenant_id: UUID, kind: str) -> Sequence[PlatformEntry]:
    """What the platform's trail holds of one kind about a tenant, the oldest first."""
    return session.scalars(
        select(PlatformEntry)
        .where(PlatformEntry.tenant_id == tenant_id, PlatformEntry.type == kind)
        .order_by(PlatformEntry.id)
    ).all()
