"""Who belongs to a tenant, in which role. A tenant is never without an owner."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.core.caller import Caller
from app.core.db import MainSession
from app.core.errors import NotFound
from app.core.pages import Cursors, Page, page_of
from app.domains.identity.service import users
from app.domains.tenants import queries
from app.domains.tenants.errors import LastOwner, MemberNotFound, OwnersOnly
from app.domains.tenants.models import Role, UserTenantAssociation


@dataclass(frozen=True, slots=True)
class Member:
    user_id: UUID
    email: str
    name: str
    role: str
    created_at: datetime


def list_members(
    session: MainSession, *, tenant_id: UUID, cursors: Cursors, cursor: str | None, limit: int
) -> Page[Member]:
    after = None if cursor is None else cursors.load(cursor)
    rows = queries.associations(session, tenant_id=tenant_id, after=after, limit=limit + 1)
    people = users.get_users(session, [row.user_id for row in rows])
    members = [
        Member(row.user_id, person.email, person.name, row.role, row.created_at)
        for row in rows
        if (person := people.get(row.user_id)) is not None
    ]
    return page_of(members, limit=limit, cursors=cursors, id_of=lambda member: member.user_id)


def add_member(session: MainSession, *, tenant_id: UUID, user_id: UUID, role: str) -> None:
    """Makes the user a member; a member keeps the role that he or she has."""
    if queries.association(session, user_id=user_id, tenant_id=tenant_id) is None:
        session.add(UserTenantAssociation(user_id=user_id, tenant_id=tenant_id, role=role))


def change_role(
    session: MainSession, *, caller: Caller, tenant_id: UUID, user_id: UUID, role: str
) -> Member:
    """Gives the member another role, from his or her next request on.

    Raises:
        MemberNotFound: no member.
        OwnersOnly: an owner is concerned, and the caller is none.
        LastOwner: nobody else owns the tenant.
    """
    row = _for_change(session, tenant_id=tenant_id, user_id=user_id)
    if Role.OWNER in {row.role, role} and caller.role != Role.OWNER:
        raise OwnersOnly("Only an owner makes owners, or changes their role.")
    if row.role == Role.OWNER and role != Role.OWNER:
        _require_another_owner(session, tenant_id)
    row.role = role
    person = users.get_user(session, user_id)
    return Member(user_id, person.email, person.name, role, row.created_at)


def remove_member(session: MainSession, *, caller: Caller, tenant_id: UUID, user_id: UUID) -> None:
    """Takes the member out of the tenant; what he or she made stays.

    Raises:
        MemberNotFound, OwnersOnly, LastOwner: as `change_role`.
    """
    row = _for_change(session, tenant_id=tenant_id, user_id=user_id)
    if row.role == Role.OWNER:
        if caller.role != Role.OWNER:
            raise OwnersOnly("Only an owner removes an owner.")
        _require_another_owner(session, tenant_id)
    session.delete(row)


def _for_change(session: MainSession, *, tenant_id: UUID, user_id: UUID) -> UserTenantAssociation:
    """The membership, with the tenant locked: owners cannot remove each other at the same time."""
    if queries.tenant_for_change(session, tenant_id) is None:
        raise NotFound("There is no such tenant.")
    row = queries.association(session, user_id=user_id, tenant_id=tenant_id)
    if row is None:
        raise MemberNotFound("There is no such member.")
    return row


def _require_another_owner(session: MainSession, tenant_id: UUID) -> None:
    if queries.count_owners(session, tenant_id) == 1:
        raise LastOwner("Make somebody else an owner first.")
