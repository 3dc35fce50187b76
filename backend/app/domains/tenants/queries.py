"""Reads of tenants, members and the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, and_, func, select

from app.core.db import MainSession
from app.domains.tenants.models import (
    Role,
    Tenant,
    TenantDatabase,
    TenantState,
    UserTenantAssociation,
)
from app.tenancy.locations import TenantLocation


@dataclass(frozen=True, slots=True)
class Membership:
    """A tenant as one person sees it; ``role`` is None for one who is no member."""

    id: UUID
    slug: str
    name: str
    state: str
    role: str | None
    failure: str | None
    created_at: datetime


def _memberships(
    user_id: UUID, *, of_others_too: bool = False
) -> Select[UUID, str, str, str, str | None, str | None, datetime]:
    mine = and_(
        UserTenantAssociation.tenant_id == Tenant.id, UserTenantAssociation.user_id == user_id
    )
    return (
        select(
            Tenant.id,
            Tenant.slug,
            Tenant.name,
            Tenant.state,
            UserTenantAssociation.role,
            Tenant.failure,
            Tenant.created_at,
        )
        .join(UserTenantAssociation, mine, isouter=of_others_too)
        .where(Tenant.state != TenantState.DELETED)
    )


def memberships(
    session: MainSession, *, user_id: UUID, after: UUID | None, limit: int
) -> Sequence[Membership]:
    """The user's tenants in the order of their making, at most ``limit``, after the id given."""
    statement = _memberships(user_id).order_by(Tenant.id).limit(limit)
    if after is not None:
        statement = statement.where(Tenant.id > after)
    return [Membership(*row) for row in session.execute(statement)]


def membership(session: MainSession, *, user_id: UUID, tenant_id: UUID) -> Membership | None:
    """One tenant, also one that the user is no member of: access was decided before."""
    statement = _memberships(user_id, of_others_too=True).where(Tenant.id == tenant_id)
    row = session.execute(statement).one_or_none()
    return None if row is None else Membership(*row)


def associations(
    session: MainSession, *, tenant_id: UUID, after: UUID | None, limit: int
) -> Sequence[UserTenantAssociation]:
    """The tenant's members by their ids, at most ``limit``, after the id given."""
    statement = (
        select(UserTenantAssociation)
        .where(UserTenantAssociation.tenant_id == tenant_id)
        .order_by(UserTenantAssociation.user_id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(UserTenantAssociation.user_id > after)
    return session.scalars(statement).all()


def association(
    session: MainSession, *, user_id: UUID, tenant_id: UUID
) -> UserTenantAssociation | None:
    return session.get(UserTenantAssociation, (user_id, tenant_id))


def count_owners(session: MainSession, tenant_id: UUID) -> int:
    return (
        session.scalar(
            select(func.count())
            .select_from(UserTenantAssociation)
            .where(
                UserTenantAssociation.tenant_id == tenant_id,
                UserTenantAssociation.role == Role.OWNER,
            )
        )
        or 0
    )


def tenant(session: MainSession, tenant_id: UUID) -> Tenant | None:
    return session.get(Tenant, tenant_id)


def tenant_for_change(session: MainSession, tenant_id: UUID) -> Tenant | None:
    """The tenant, locked until the transaction ends: its state changes one step at a time."""
    return session.get(Tenant, tenant_id, with_for_update=True)


def tenant_by_slug(session: MainSession, slug: str) -> Tenant | None:
    return session.scalar(
        select(Tenant).where(Tenant.slug == slug, Tenant.state != TenantState.DELETED)
    )


def database(session: MainSession, tenant_id: UUID) -> TenantDatabase | None:
    return session.get(TenantDatabase, tenant_id)


def location(session: MainSession, tenant_id: UUID) -> TenantLocation | None:
    row = database(session, tenant_id)
    return None if row is None else location_of(row)


def location_of(row: TenantDatabase) -> TenantLocation:
    return TenantLocation(
        tenant_id=row.tenant_id,
        server=row.server,
        database=row.database,
        sealed_credentials=row.sealed_credentials,
    )


def ledger(session: MainSession) -> Sequence[tuple[str, str, UUID]]:
    """Each database of the ledger: its name, its tenant's state, its tenant's id."""
    rows = session.execute(
        select(TenantDatabase.database, Tenant.state, Tenant.id).join(
            Tenant, Tenant.id == TenantDatabase.tenant_id
        )
    )
    return [(name, state, tenant_id) for name, state, tenant_id in rows]
