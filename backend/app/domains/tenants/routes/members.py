"""A tenant's members over HTTP."""

from typing import Any, Final
from uuid import UUID

from flask import Blueprint

from app.core.caller import Caller
from app.core.db import MainSession
from app.core.http import endpoint
from app.core.pages import Page, PageQuery, current_cursors
from app.domains.tenants import schemas
from app.domains.tenants.models import Invitation
from app.domains.tenants.service import invitations, members
from app.settings import current_settings

blueprint: Final = Blueprint(
    "members", __name__, url_prefix="/api/tenants/<tenant:tenant_id>/users"
)


@blueprint.get("")
@endpoint(
    allow="members:read",
    transaction="main",
    query=PageQuery,
    returns=schemas.MemberPage,
    errors=(401, 403, 404, 422, 503),
)
def list_members(
    session: MainSession, tenant_id: UUID, query: dict[str, Any]
) -> Page[members.Member]:
    """Who belongs to the tenant, in which role."""
    return members.list_members(session, tenant_id=tenant_id, cursors=current_cursors(), **query)


@blueprint.patch("/<uuid:user_id>")
@endpoint(
    allow="members:manage",
    transaction="main",
    body=schemas.ChangeMember,
    returns=schemas.Member,
    errors=(401, 403, 404, 409, 422, 503),
)
def change_member(
    session: MainSession, caller: Caller, tenant_id: UUID, user_id: UUID, body: dict[str, Any]
) -> members.Member:
    """Change a member's role, or make the membership inactive, from the next request on."""
    return members.change_member(
        session, caller=caller, tenant_id=tenant_id, user_id=user_id, **body
    )


@blueprint.post("")
@endpoint(
    allow="members:manage",
    transaction="main",
    body=schemas.NewInvitation,
    returns=schemas.Invitation,
    status=202,
    errors=(401, 403, 404, 409, 422, 503),
)
def add_member(
    session: MainSession, caller: Caller, tenant_id: UUID, body: dict[str, str]
) -> Invitation:
    """Ask somebody to become a member: nobody is made one unasked, so this sends an invitation.

    Known and unknown addresses are alike here; the invitation is what is answered.
    """
    return invitations.invite(
        session, current_settings(), caller=caller, tenant_id=tenant_id, **body
    )


@blueprint.delete("/me")
@endpoint(
    allow="members:read",
    transaction="main",
    any_state=True,
    status=204,
    errors=(401, 403, 404, 409),
)
def leave_tenant(session: MainSession, caller: Caller, tenant_id: UUID) -> None:
    """Leave the tenant; what the caller made stays. The last owner cannot."""
    members.leave(session, user_id=caller.user_id, tenant_id=tenant_id)


@blueprint.delete("/<uuid:user_id>")
@endpoint(allow="members:manage", transaction="main", status=204, errors=(401, 403, 404, 409, 503))
def remove_member(session: MainSession, caller: Caller, tenant_id: UUID, user_id: UUID) -> None:
    """Take a member out of the tenant; what he or she made stays."""
    members.remove_member(session, caller=caller, tenant_id=tenant_id, user_id=user_id)
