"""Reads of tenants, members and the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import Select, and_, case, delete, func, or_, select, text

from app.core import clock
from app.core.db import MainSession
from app.domains.tenants.models import (
    Invitation,
    Registration,
    Role,
    Sandbox,
    Tenant,
    TenantDatabase,
    TenantDomain,
    TenantState,
    UserTenantAssociation,
)
from app.tenancy.locations import TenantLocation
from app.tenancy.names import lock_key

_LOCK_COUNT: Final = text("SELECT pg_advisory_xact_lock(:key)")
# A SECURITY DEFINER function: it counts what row level security hides.
_COUNT_TENANTS: Final = text("SELECT count_tenants()")

# A narrow SECURITY DEFINER function: whoever holds an invitation's token learns its tenant.
_INVITED_TO = text("SELECT invited_to(:token_hash)")


@dataclass(frozen=True, slots=True)
class Membership:
    """A tenant as one person sees it; ``role`` is None for one who is no member."""

    id: UUID
    slug: str
    name: str
    state: str
    active: bool
    role: str | None
    failure: str | None
    reason: str | None
    read_only: bool
    why_read_only: str | None
    last_backup_at: datetime | None
    last_proven_at: datetime | None
    purge_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def suspension_reason(self) -> str | None:
        """For the owners and the platform, which are the ones that can do something about it."""
        return self.reason if self.role in {None, Role.OWNER} else None

    @property
    def read_only_reason(self) -> str | None:
        """For the same."""
        return self.why_read_only if self.role in {None, Role.OWNER} else None


def _memberships(user_id: UUID, *, of_others_too: bool = False) -> Select[*tuple[Any, ...]]:
    """The columns of `Membership`, of every tenant that is not purged."""
    mine = and_(
        UserTenantAssociation.tenant_id == Tenant.id,
        UserTenantAssociation.user_id == user_id,
        UserTenantAssociation.active,
    )
    return select(
        Tenant.id,
        Tenant.slug,
        Tenant.name,
        Tenant.state,
        Tenant.active,
        UserTenantAssociation.role,
        Tenant.failure,
        Tenant.suspension_reason,
        Tenant.read_only_since.is_not(None),
        Tenant.read_only_reason,
        Tenant.last_backup_at,
        Tenant.last_proven_at,
        Tenant.purge_at,
        Tenant.created_at,
        Tenant.updated_at,
    ).join(UserTenantAssociation, mine, isouter=of_others_too)


def memberships(
    session: MainSession, *, user_id: UUID, after: UUID | None, limit: int
) -> Sequence[Membership]:
    """The user's tenants in the order of their making, at most ``limit``, after the id given.

    A deleted one is its owners' alone: they may restore it.
    """
    gone = (TenantState.PURGING, TenantState.PURGED)
    owned = UserTenantAssociation.role == Role.OWNER
    statement = (
        _memberships(user_id)
        .where(Tenant.state.not_in(gone), or_(Tenant.state != TenantState.DELETED, owned))
        .order_by(Tenant.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(Tenant.id > after)
    return [Membership(*row) for row in session.execute(statement)]


def all_tenants(
    session: MainSession, *, user_id: UUID, state: str | None, after: UUID | None, limit: int
) -> Sequence[Membership]:
    """Every tenant that the session may see, the oldest first, at most ``limit``."""
    statement = _memberships(user_id, of_others_too=True).order_by(Tenant.id).limit(limit)
    if state is not None:
        statement = statement.where(Tenant.state == state)
    if after is not None:
        statement = statement.where(Tenant.id > after)
    return [Membership(*row) for row in session.execute(statement)]


def membership(session: MainSession, *, user_id: UUID, tenant_id: UUID) -> Membership | None:
    """One tenant, also one that the user is no member of: access was decided before."""
    statement = _memberships(user_id, of_others_too=True).where(
        Tenant.id == tenant_id, Tenant.state != TenantState.PURGED
    )
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
                UserTenantAssociation.active,
            )
        )
        or 0
    )


def count_tenants_for_change(session: MainSession) -> int:
    """How many tenants there are, of which none is deleted; nobody else asks until we are done."""
    session.execute(_LOCK_COUNT, {"key": lock_key("count-tenants")})
    return session.scalar(_COUNT_TENANTS) or 0


def tenant(session: MainSession, tenant_id: UUID) -> Tenant | None:
    return session.get(Tenant, tenant_id)


def tenant_for_change(session: MainSession, tenant_id: UUID) -> Tenant | None:
    """The tenant, locked until the transaction ends: its state changes one step at a time."""
    return session.get(Tenant, tenant_id, with_for_update=True)


def tenant_by_slug(session: MainSession, slug: str) -> Tenant | None:
    named = select(Tenant).where(Tenant.slug == slug)
    return session.scalar(named.where(Tenant.state != TenantState.PURGED))


def database(session: MainSession, tenant_id: UUID) -> TenantDatabase | None:
    return session.get(TenantDatabase, tenant_id)


def location(session: MainSession, tenant_id: UUID) -> TenantLocation | None:
    row, owner = database(session, tenant_id), tenant(session, tenant_id)
    return None if row is None or owner is None else location_of(row, owner.read_only_since)


def location_of(row: TenantDatabase, read_only_since: datetime | None) -> TenantLocation:
    return TenantLocation(
        tenant_id=row.tenant_id,
        server=row.server,
        database=row.database,
        sealed_credentials=row.sealed_credentials,
        read_only=read_only_since is not None or row.held_until is not None,
        spare_id=row.spare_id,
        generation=row.generation,
    )


def active_locations(session: MainSession) -> Sequence[TenantLocation]:
    rows = session.execute(
        select(TenantDatabase, Tenant.read_only_since)
        .join(Tenant, Tenant.id == TenantDatabase.tenant_id)
        .where(Tenant.state == TenantState.ACTIVE)
        .order_by(TenantDatabase.tenant_id)
    )
    return [location_of(row, since) for row, since in rows]


def active_ids(session: MainSession, *, after: UUID | None, limit: int) -> Sequence[UUID]:
    """Of tenants whose databases may be used, in their order."""
    statement = (
        select(Tenant.id).where(Tenant.state == TenantState.ACTIVE).order_by(Tenant.id).limit(limit)
    )
    if after is not None:
        statement = statement.where(Tenant.id > after)
    return session.scalars(statement).all()


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A database with its tenant's state; ``read_only`` is None where a hold is over, unended."""

    database: str
    tenant_id: UUID
    state: TenantState
    overdue: bool
    read_only: bool | None
    server: str


def ledger(session: MainSession) -> Sequence[LedgerEntry]:
    overdue = or_(Tenant.state == TenantState.PURGING, Tenant.purge_at <= clock.now())
    rows = session.execute(
        select(
            TenantDatabase.database,
            Tenant.id,
            Tenant.state,
            func.coalesce(overdue, False),
            case(
                (Tenant.read_only_since.is_not(None), True),
                (TenantDatabase.held_until.is_(None), False),
                (TenantDatabase.held_until > clock.now(), True),
            ),
            TenantDatabase.server,
        ).join(Tenant, Tenant.id == TenantDatabase.tenant_id)
    )
    return [
        LedgerEntry(name, id_, TenantState(state), due, read_only, server)
        for name, id_, state, due, read_only, server in rows
    ]


@dataclass(frozen=True, slots=True)
class FleetEntry:
    """A tenant with a whole database. ``revision`` is what the ledger believes."""

    tenant_id: UUID
    slug: str
    state: str
    location: TenantLocation
    revision: str | None
    tags: tuple[str, ...]
    proven_at: datetime | None = None


# Deleted ones too: they can be restored until their purge begins.
_KEPT: Final = (TenantState.ACTIVE, TenantState.SUSPENDED, TenantState.DELETED)
_OF_ENTRY: Final = (Tenant.slug, Tenant.state, Tenant.read_only_since, Tenant.last_proven_at)
# A database is whole once it has a revision.
_WITH_DATABASE: Final = and_(TenantDatabase.active, Tenant.state.in_(_KEPT))


def with_database(
    session: MainSession,
    *,
    tenant_ids: Sequence[UUID] | None = None,
    besides: tuple[str | None] | None = None,
) -> Sequence[FleetEntry]:
    """The one answer to which tenants have a database, oldest tenant first.

    ``besides`` holds the revision whose tenants are left out.
    """
    statement = (
        select(TenantDatabase, *_OF_ENTRY)
        .join(Tenant, Tenant.id == TenantDatabase.tenant_id)
        .where(_WITH_DATABASE)
        .order_by(Tenant.id)
    )
    if tenant_ids is not None:
        statement = statement.where(Tenant.id.in_(tenant_ids))
    if besides is not None:
        statement = statement.where(TenantDatabase.schema_revision.is_distinct_from(besides[0]))
    return [
        FleetEntry(
            tenant_id=row.tenant_id,
            slug=slug,
            state=state,
            location=location_of(row, since),
            revision=row.schema_revision,
            tags=tuple(row.tags),
            proven_at=proven_at,
        )
        for row, slug, state, since, proven_at in session.execute(statement)
    ]


def count_by_revision(session: MainSession) -> dict[str | None, int]:
    rows = session.execute(
        select(TenantDatabase.schema_revision, func.count())
        .join(Tenant, Tenant.id == TenantDatabase.tenant_id)
        .where(_WITH_DATABASE)
        .group_by(TenantDatabase.schema_revision)
    )
    return {revision: count for revision, count in rows}  # noqa: C416  # mypy knows no rows


def forget(session: MainSession, tenant_id: UUID) -> None:
    """Deletes the tenant's rows, all but the one that says that it was there."""
    for model in (TenantDatabase, TenantDomain, UserTenantAssociation, Invitation, Sandbox):
        session.execute(delete(model).where(model.tenant_id == tenant_id))


def domains(session: MainSession, tenant_id: UUID) -> Sequence[TenantDomain]:
    return session.scalars(
        select(TenantDomain)
        .where(TenantDomain.tenant_id == tenant_id)
        .order_by(TenantDomain.domain)
    ).all()


def domain_for_change(
    session: MainSession, *, tenant_id: UUID, domain_id: UUID
) -> TenantDomain | None:
    return session.scalar(
        select(TenantDomain)
        .where(TenantDomain.id == domain_id, TenantDomain.tenant_id == tenant_id)
        .with_for_update()
    )


def registration(session: MainSession, registration_id: UUID) -> Registration | None:
    return session.get(Registration, registration_id)


def registration_by_token(session: MainSession, token_hash: bytes) -> Registration | None:
    """The one whose time is not over, locked until the transaction ends."""
    return session.scalar(
        select(Registration)
        .where(Registration.token_hash == token_hash, Registration.expires_at > clock.now())
        .with_for_update()
    )


def invitations(
    session: MainSession, *, tenant_id: UUID, state: str | None, after: UUID | None, limit: int
) -> Sequence[Invitation]:
    """The tenant's, newest first, at most ``limit``, after the id given."""
    statement = select(Invitation).where(Invitation.tenant_id == tenant_id)
    if state is not None:
        statement = statement.where(Invitation.state == state)
    if after is not None:
        statement = statement.where(Invitation.id < after)
    return session.scalars(statement.order_by(Invitation.id.desc()).limit(limit)).all()


def invitation(session: MainSession, invitation_id: UUID) -> Invitation | None:
    return session.get(Invitation, invitation_id)


def open_invitation(session: MainSession, *, tenant_id: UUID, email: str) -> Invitation | None:
    """The one that is neither accepted nor revoked; it may have expired."""
    return session.scalar(
        select(Invitation).where(
            Invitation.tenant_id == tenant_id, Invitation.email == email, Invitation.active
        )
    )


def invited_to(session: MainSession, token_hash: bytes) -> UUID | None:
    """The tenant that a token invites to, whatever became of the invitation."""
    return cast("UUID | None", session.scalar(_INVITED_TO, {"token_hash": token_hash}))


def invitation_by_token(session: MainSession, token_hash: bytes) -> Invitation | None:
    return session.scalar(select(Invitation).where(Invitation.token_hash == token_hash))
