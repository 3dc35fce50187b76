"""Invitations over HTTP: for those who invite, and for those who are invited."""

from typing import Any, Final, cast
from uuid import UUID

from flask import Blueprint, current_app, request

from app.core import throttle
from app.core.caller import Caller
from app.core.db import MainSession
from app.core.http import PUBLIC, current_edge, endpoint
from app.core.pages import Page, current_cursors
from app.core.throttle import Attempt
from app.domains.identity.service.passwords import Passwords
from app.domains.tenants import schemas
from app.domains.tenants.models import Invitation
from app.domains.tenants.service import acceptance, invitations
from app.settings import current_settings

blueprint: Final = Blueprint("invitations", __name__)

_OF_TENANT: Final = "/api/tenants/<tenant:tenant_id>/invitations"


@blueprint.post(_OF_TENANT)
@endpoint(
    allow="members:manage",
    transaction="main",
    body=schemas.NewInvitation,
    returns=schemas.Invitation,
    status=201,
    errors=(401, 403, 404, 409, 422, 503),
)
def invite(
    session: MainSession, caller: Caller, tenant_id: UUID, body: dict[str, str]
) -> Invitation:
    """Invite an address; one that is invited already gets a new mail, with this role."""
    return invitations.invite(
        session, current_settings(), caller=caller, tenant_id=tenant_id, **body
    )


@blueprint.get(_OF_TENANT)
@endpoint(
    allow="members:manage",
    transaction="main",
    query=schemas.InvitationQuery,
    returns=schemas.InvitationPage,
    errors=(401, 403, 404, 422, 503),
)
def list_invitations(
    session: MainSession, tenant_id: UUID, query: dict[str, Any]
) -> Page[Invitation]:
    """Whom the tenant invited, newest first."""
    return invitations.list_invitations(
        session, tenant_id=tenant_id, cursors=current_cursors(), **query
    )


@blueprint.delete(_OF_TENANT + "/<uuid:invitation_id>")
@endpoint(allow="members:manage", transaction="main", status=204, errors=(401, 403, 404, 503))
def revoke_invitation(
    session: MainSession, caller: Caller, tenant_id: UUID, invitation_id: UUID
) -> None:
    """Take an open invitation back; its link is good no more."""
    invitations.revoke(session, caller=caller, tenant_id=tenant_id, invitation_id=invitation_id)


@blueprint.post(_OF_TENANT + "/<uuid:invitation_id>/resend")
@endpoint(
    allow="members:manage",
    transaction="main",
    returns=schemas.Invitation,
    errors=(401, 403, 404, 503),
)
def resend_invitation(
    session: MainSession, caller: Caller, tenant_id: UUID, invitation_id: UUID
) -> Invitation:
    """Send an open invitation once more, in one's own name and for its whole time."""
    return invitations.resend(
        session,
        current_settings(),
        caller=caller,
        tenant_id=tenant_id,
        invitation_id=invitation_id,
    )


@blueprint.post("/api/invitations/preview")
@endpoint(
    allow=PUBLIC,
    transaction=None,
    body=schemas.InvitationToken,
    returns=schemas.InvitationPreview,
    errors=(404, 409, 410, 422),
)
def preview_invitation(body: dict[str, str]) -> acceptance.Preview:
    """What a mail's token invites to, for a page that asks whether to accept."""
    return acceptance.preview(**body)


@blueprint.post("/api/invitations/accept")
@endpoint(
    allow=PUBLIC,
    transaction=None,
    body=schemas.AcceptInvitation,
    throttle=throttle.hashes_password("accept-invitation"),
    returns=schemas.InvitationAccepted,
    errors=(401, 403, 404, 409, 410, 422),
)
def accept_invitation(attempt: Attempt, body: dict[str, Any]) -> acceptance.Accepted:
    """Become a member by a mail's token.

    Somebody new sends a name and a password, and signs in afterwards; somebody with an account
    sends the access token too, and so agrees.
    """
    authorization = request.headers.get("Authorization")
    caller = authorization and current_edge().identify(authorization, None, any_state=False)
    passwords = cast("Passwords", current_app.extensions["passwords"])
    accepted = acceptance.accept(passwords, caller=caller or None, **body)
    attempt.succeeded()
    return accepted
