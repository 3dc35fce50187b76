"""Accepting an invitation, by whoever holds its token and shows to be whom it is for.

The token proves the address: it went there and nowhere else. It names its tenant through one narrow
function of the database; everything after that happens inside that tenant.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.core import clock, events, ids
from app.core.caller import Caller
from app.core.db import MainSession, main_session
from app.core.errors import Unprocessable
from app.domains.identity.service import proofs, users
from app.domains.identity.service.passwords import Passwords
from app.domains.tenants import queries
from app.domains.tenants.errors import (
    InvitationNotFound,
    InvitationOver,
    InvitedAnother,
    SignInToAccept,
    TenantNotOpen,
)
from app.domains.tenants.events import InvitationAccepted
from app.domains.tenants.models import Invitation, Tenant, TenantState
from app.domains.tenants.service import members
from app.domains.tenants.service.invitations import may_invite


@dataclass(frozen=True, slots=True)
class Preview:
    """What the holder of a token may know before accepting."""

    tenant: str
    inviter: str
    email: str
    role: str
    expires_at: datetime
    account_exists: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """``role`` is the one that a member had already, where there was one."""

    tenant_id: UUID
    tenant: str
    role: str


def preview(*, token: str) -> Preview:
    """What the token invites to.

    Raises:
        InvitationNotFound, InvitationOver, TenantNotOpen: as `accept`.
    """
    with _invited(token) as (session, tenant, invitation):
        return Preview(
            tenant=tenant.name,
            inviter=users.get_user(session, invitation.invited_by).name,
            email=invitation.email,
            role=invitation.role,
            expires_at=invitation.expires_at,
            account_exists=users.find_by_email(session, invitation.email) is not None,
        )


def accept(
    passwords: Passwords,
    *,
    token: str,
    caller: Caller | None,
    name: str | None,
    password: str | None,
) -> Accepted:
    """Makes the invited person a member, with a new account where the address has none.

    Whoever invited must still be allowed to: else an administrator could leave a way back in.

    Raises:
        InvitationNotFound: no such token; a later mail's token replaces it.
        InvitationOver: accepted, revoked or expired, or the inviter may not invite any more.
        TenantNotOpen: the tenant is suspended, deleted or not ready.
        SignInToAccept: the address has an account, and nobody is signed in.
        InvitedAnother: somebody else is signed in.
        Unprocessable: a new account needs a name and a password.
    """
    # Hashed before the tenant is locked; whoever is signed in needs none.
    password_hash = None if caller or password is None else passwords.hash(password)
    with _invited(token) as (session, tenant, invitation):
        user = users.find_by_email(session, invitation.email)
        if user is None:
            user_id = _new_user(
                session, invitation, caller=caller, name=name, password_hash=password_hash
            )
        else:
            user_id = user.id
            _require_same(caller, user_id)
            proofs.confirm_address(session, user)
        role = members.add_member(
            session, tenant_id=tenant.id, user_id=user_id, role=invitation.role
        )
        invitation.accepted_at = clock.now()
        events.record(
            session,
            InvitationAccepted(
                invitation_id=invitation.id,
                tenant_id=tenant.id,
                user_id=user_id,
                role=role,
                invited_by=invitation.invited_by,
            ),
        )
        return Accepted(tenant.id, tenant.name, role)


@contextmanager
def _invited(token: str) -> Iterator[tuple[MainSession, Tenant, Invitation]]:
    """A transaction in the token's tenant, which is locked, with its pending invitation."""
    token_hash = ids.token_hash(token)
    with main_session() as session:
        tenant_id = queries.invited_to(session, token_hash)
    if tenant_id is None:
        raise InvitationNotFound("This link is not valid; ask for a new invitation.")
    with main_session(tenant_id=tenant_id) as session:
        tenant = queries.tenant_for_change(session, tenant_id)
        invitation = queries.invitation_by_token(session, token_hash)
        if tenant is None or invitation is None:
            raise InvitationNotFound("This link is not valid; ask for a new invitation.")
        _require_pending(session, invitation)
        if tenant.state != TenantState.ACTIVE:
            raise TenantNotOpen("This tenant takes nobody in now; ask whoever invited you.")
        yield session, tenant, invitation


def _require_pending(session: MainSession, invitation: Invitation) -> None:
    if invitation.state != "pending":
        raise InvitationOver(
            f"This invitation is {invitation.state}: sign in, or ask for a new one."
        )
    inviter = queries.association(
        session, user_id=invitation.invited_by, tenant_id=invitation.tenant_id
    )
    if not (inviter and inviter.active and may_invite(inviter.role, invitation.role)):
        raise InvitationOver("Whoever invited you may not do so any more; ask for a new one.")


def _require_same(caller: Caller | None, user_id: UUID) -> None:
    if caller is None:
        raise SignInToAccept("There is an account with this address: sign in, then accept.")
    if caller.user_id != user_id:
        raise InvitedAnother("This invitation is for another address; sign in with that one.")


def _new_user(
    session: MainSession,
    invitation: Invitation,
    *,
    caller: Caller | None,
    name: str | None,
    password_hash: str | None,
) -> UUID:
    if caller is not None:
        raise InvitedAnother("This invitation is for another address; sign out first.")
    if name is None or password_hash is None:
        missing: dict[str, object] = {
            field: ["A new account needs this."]
            for field, value in (("name", name), ("password", password_hash))
            if value is None
        }
        raise Unprocessable("A new account needs a name and a password.", errors=missing)
    return users.add_user(
        session, email=invitation.email, name=name, password_hash=password_hash, verified=True
    ).id
