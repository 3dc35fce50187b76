"""Who belongs to a tenant, in which role. A tenant is never without an owner."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from app.core import events
from app.core.caller import Caller
from app.core.db import MainSession
from app.core.errors import NotFound
from app.core.events import Event
from app.core.pages import Cursors, Page, page_of
from app.domains.identity.service import users
from app.domains.tenants import queries
from app.domains.tenants.errors import LastOwner, MemberNotFound, OwnersOnly
from app.domains.tenants.events import (
    MemberDeactivated,
    MemberLeft,
    MemberReactivated,
    MemberRemoved,
    RoleChanged,
)
from app.domains.tenants.models import Role, UserTenantAssociation

_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Member:
    user_id: UUID
    email: str
    name: str
    role: str
    active: bool
    created_at: datetime
    updated_at: datetime


def list_members(
    session: MainSession, *, tenant_id: UUID, cursors: Cursors, cursor: str | None, limit: int
) -> Page[Member]:
    after = None if cursor is None else cursors.load(cursor)
    rows = queries.associations(session, tenant_id=tenant_id, after=after, limit=limit + 1)
    people = users.get_users(session, [row.user_id for row in rows])
    members = [
        _member(row, person.email, person.name)
        for row in rows
        if (person := people.get(row.user_id)) is not None
    ]
    return page_of(members, limit=limit, cursors=cursors, id_of=lambda member: member.user_id)


def all_members(session: MainSession, tenant_id: UUID) -> Iterator[Member]:
    """Everybody, a page of them in memory."""
    after: UUID | None = None
    while rows := queries.associations(session, tenant_id=tenant_id, after=after, limit=_PAGE):
        people = users.get_users(session, [row.user_id for row in rows])
        for row in rows:
            if (person := people.get(row.user_id)) is not None:
                yield _member(row, person.email, person.name)
        after = rows[-1].user_id


def add_member(session: MainSession, *, tenant_id: UUID, user_id: UUID, role: str) -> str:
    """Makes the user a member; one who is, keeps the role that he or she has. It is returned."""
    if (row := queries.association(session, user_id=user_id, tenant_id=tenant_id)) is not None:
        return row.role
    session.add(UserTenantAssociation(user_id=user_id, tenant_id=tenant_id, role=role))
    return role


@dataclass(frozen=True, slots=True)
class Standing:
    """What a tenant has somebody be."""

    role: str
    active: bool


def standing(session: MainSession, *, tenant_id: UUID, user_id: UUID) -> Standing | None:
    """None for one who is no member."""
    row = queries.association(session, user_id=user_id, tenant_id=tenant_id)
    return None if row is None else Standing(row.role, row.active)


def take_role(session: MainSession, *, tenant_id: UUID, user_id: UUID, role: str) -> str:
    """The role that the tenant's directory gives a member, who gets it; the last owner stays one.

    Raises:
        MemberNotFound: no member.
    """
    row = _for_change(session, tenant_id=tenant_id, user_id=user_id)
    if role != row.role:
        try:
            if role != Role.OWNER:
                _require_another_owner(session, row)
        except LastOwner:
            return row.role
        for event in _changes(row, role=role, active=row.active):
            events.record(session, event)
        row.role = role
        session.flush()  # what is told is what was written
    return row.role


def change_member(
    session: MainSession,
    *,
    caller: Caller,
    tenant_id: UUID,
    user_id: UUID,
    role: str | None = None,
    active: bool | None = None,
) -> Member:
    """Gives the member another role, or takes or gives back the way in, from the next request on.

    Raises:
        MemberNotFound: no member.
        OwnersOnly: an owner is concerned, and the caller is none.
        LastOwner: nobody else owns the tenant and can get in.
    """
    row = _for_change(session, tenant_id=tenant_id, user_id=user_id)
    role, active = role or row.role, row.active if active is None else active
    if Role.OWNER in {row.role, role} and caller.role != Role.OWNER:
        raise OwnersOnly("Only an owner makes owners, or changes one.")
    if not (active and role == Role.OWNER):
        _require_another_owner(session, row)
    for event in _changes(row, role=role, active=active):
        events.record(session, event)
    row.role, row.active = role, active
    session.flush()  # what is told is what was written
    person = users.get_user(session, user_id)
    return _member(row, person.email, person.name)


def remove_member(session: MainSession, *, caller: Caller, tenant_id: UUID, user_id: UUID) -> None:
    """Takes the member out of the tenant; what he or she made stays.

    Raises:
        MemberNotFound, OwnersOnly, LastOwner: as `change_member`.
    """
    row = _for_change(session, tenant_id=tenant_id, user_id=user_id)
    if row.role == Role.OWNER and caller.role != Role.OWNER:
        raise OwnersOnly("Only an owner removes an owner.")
    _require_another_owner(session, row)
    session.delete(row)
    events.record(session, MemberRemoved(user_id=user_id, tenant_id=tenant_id, role=row.role))


def _changes(row: UserTenantAssociation, *, role: str, active: bool) -> Iterator[Event]:
    who = {"user_id": row.user_id, "tenant_id": row.tenant_id}
    if role != row.role:
        yield RoleChanged(**who, former=row.role, role=role)
    if active and not row.active:
        yield MemberReactivated(**who)
    if row.active and not active:
        yield MemberDeactivated(**who)


def _member(row: UserTenantAssociation, email: str, name: str) -> Member:
    return Member(
        user_id=row.user_id,
        email=email,
        name=name,
        role=row.role,
        active=row.active,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def leave(session: MainSession, *, user_id: UUID, tenant_id: UUID) -> None:
    """Takes a member out at his or her own wish.

    Raises:
        MemberNotFound: no member.
        LastOwner: nobody else owns the tenant.
    """
    row = _for_change(session, tenant_id=tenant_id, user_id=user_id)
    _require_another_owner(session, row)
    session.delete(row)
    events.record(session, MemberLeft(user_id=user_id, tenant_id=tenant_id, role=row.role))


def _for_change(session: MainSession, *, tenant_id: UUID, user_id: UUID) -> UserTenantAssociation:
    """The membership, with the tenant locked: owners cannot remove each other at the same time."""
    if queries.tenant_for_change(session, tenant_id) is None:
        raise NotFound("There is no such tenant.")
    row = queries.association(session, user_id=user_id, tenant_id=tenant_id)
    if row is None:
        raise MemberNotFound("There is no such member.")
    return row


def _require_another_owner(session: MainSession, row: UserTenantAssociation) -> None:
    """That the tenant has an owner who can get in, also without this member."""
    is_one = row.role == Role.OWNER and row.active
    if is_one and queries.count_owners(session, row.tenant_id) == 1:
        raise LastOwner("Make somebody else an owner first.")
