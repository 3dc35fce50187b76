"""Inviting people into a tenant: an address, a role, and a mail whose link is good once.

Whoever changes an invitation has locked the tenant, so that a member who is taken out, a tenant
that is suspended and an invitation that is accepted come one after the other.
"""

from datetime import timedelta
from uuid import UUID

from app.core import clock, events, ids, letters
from app.core.caller import Caller
from app.core.db import MainSession
from app.core.errors import NotFound
from app.core.pages import Cursors, Page, page_of
from app.domains.identity.service import mails, users
from app.domains.jobs import service as jobs
from app.domains.tenants import queries
from app.domains.tenants.errors import AlreadyMember, InvitationNotFound, OwnersOnly
from app.domains.tenants.events import InvitationRevoked, MemberInvited
from app.domains.tenants.models import Invitation, Role
from app.domains.tenants.service import sandboxes
from app.integrations.mailer import Mailer
from app.settings import Settings


def invite(
    session: MainSession,
    settings: Settings,
    *,
    caller: Caller,
    tenant_id: UUID,
    email: str,
    role: str,
) -> Invitation:
    """Invites the address; an invitation that is open already is renewed, with this role.

    Raises:
        OwnersOnly: only an owner invites an owner, or changes such an invitation.
        AlreadyMember: which the caller could read in the list of members.
    """
    _lock(session, tenant_id)
    email = email.lower()
    known = users.find_by_email(session, email)
    # Looked up for the unknown too: who has an account is not to be read from the time it takes.
    user_id = ids.new_id() if known is None else known.id
    if queries.association(session, user_id=user_id, tenant_id=tenant_id):
        raise AlreadyMember("This person is a member already; change the role there.")
    invitation = queries.open_invitation(session, tenant_id=tenant_id, email=email)
    _require_owner_for_owners(caller, role, invitation)
    if invitation is None:
        invitation = Invitation(id=ids.new_id(), tenant_id=tenant_id, email=email)
        session.add(invitation)
    invitation.role = role
    return _send_out(session, settings, caller=caller, invitation=invitation)


def list_invitations(
    session: MainSession,
    *,
    tenant_id: UUID,
    cursors: Cursors,
    cursor: str | None,
    limit: int,
    state: str | None,
) -> Page[Invitation]:
    """Newest first."""
    after = None if cursor is None else cursors.load(cursor)
    rows = queries.invitations(
        session, tenant_id=tenant_id, state=state, after=after, limit=limit + 1
    )
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda row: row.id)


def resend(
    session: MainSession,
    settings: Settings,
    *,
    caller: Caller,
    tenant_id: UUID,
    invitation_id: UUID,
) -> Invitation:
    """Renews an open invitation in the caller's name; the former mail's link ends with the new one.

    Raises:
        InvitationNotFound: there is none that is open.
        OwnersOnly: as `invite`.
    """
    invitation = _open(session, caller=caller, tenant_id=tenant_id, invitation_id=invitation_id)
    return _send_out(session, settings, caller=caller, invitation=invitation)


def revoke(session: MainSession, *, caller: Caller, tenant_id: UUID, invitation_id: UUID) -> None:
    """Ends an open invitation.

    Raises:
        InvitationNotFound, OwnersOnly: as `resend`.
    """
    invitation = _open(session, caller=caller, tenant_id=tenant_id, invitation_id=invitation_id)
    invitation.revoked_at = clock.now()
    events.record(session, InvitationRevoked(invitation_id=invitation_id, tenant_id=tenant_id))


def send_mail(
    session: MainSession,
    mailer: Mailer,
    settings: Settings,
    *,
    invitation_id: UUID,
) -> None:
    """Sends the invitation's link with a new token, which replaces the former one."""
    invitation = queries.invitation(session, invitation_id)
    if invitation is None or invitation.state != "pending":
        return
    if sandboxes.is_sandbox(session, invitation.tenant_id):
        return
    topic = f"invitation/{invitation.tenant_id}"
    if not mails.admit(session, address=invitation.email, topic=topic):
        return
    tenant = queries.tenant(session, invitation.tenant_id)
    inviter = users.get_user(session, invitation.invited_by)
    token = ids.new_token()
    letter = letters.write(
        "invitation",
        link=mails.link(settings, "accept-invitation", token),
        inviter=inviter.name,
        inviter_email=inviter.email,
        tenant="" if tenant is None else tenant.name,
        role=invitation.role,
        expires_at=mails.shown(invitation.expires_at),
    )
    if mails.send(mailer, to=invitation.email, letter=letter):
        # Written at the end: nobody waits for the row while the mail is on its way.
        invitation.token_hash, invitation.sent_at = ids.token_hash(token), clock.now()


def may_invite(inviter_role: str | None, role: str) -> bool:
    """Whether a member of the first role may invite into the second."""
    allowed = {Role.OWNER} if role == Role.OWNER else {Role.OWNER, Role.ADMIN}
    return inviter_role in allowed


def _lock(session: MainSession, tenant_id: UUID) -> None:
    if queries.tenant_for_change(session, tenant_id) is None:
        raise NotFound("There is no such tenant.")


def _open(
    session: MainSession, *, caller: Caller, tenant_id: UUID, invitation_id: UUID
) -> Invitation:
    _lock(session, tenant_id)
    invitation = queries.invitation(session, invitation_id)
    if invitation is None or invitation.tenant_id != tenant_id or not invitation.active:
        raise InvitationNotFound("There is no such open invitation.")
    _require_owner_for_owners(caller, invitation.role, invitation)
    return invitation


def _require_owner_for_owners(caller: Caller, role: str, invitation: Invitation | None) -> None:
    concerned = {role} if invitation is None else {role, invitation.role}
    if Role.OWNER in concerned and caller.role != Role.OWNER:
        raise OwnersOnly("Only an owner invites an owner.")


def _send_out(
    session: MainSession, settings: Settings, *, caller: Caller, invitation: Invitation
) -> Invitation:
    invitation.invited_by = caller.user_id
    invitation.expires_at = clock.now() + timedelta(seconds=settings.invitation_seconds)
    session.flush()
    session.refresh(invitation)  # its state is reckoned by the database
    jobs.schedule(
        session,
        "tenants.send_invitation",
        tenant_id=invitation.tenant_id,
        invitation_id=str(invitation.id),
    )
    events.record(
        session,
        MemberInvited(
            invitation_id=invitation.id,
            tenant_id=invitation.tenant_id,
            email=invitation.email,
            role=invitation.role,
        ),
    )
    return invitation
