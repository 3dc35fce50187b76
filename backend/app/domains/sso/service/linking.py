"""Joining an account with a person in a directory, once its owner has proven both.

The person was proven by signing in there, the account is by its password. A stranger's directory
can neither take an account over nor be joined with one that is no member of its tenant.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.core import events
from app.core.db import MainSession, main_session
from app.domains.identity.service import sessions, users
from app.domains.identity.service.sessions import Opened
from app.domains.sso.errors import AccountRefused, LinkInvalid
from app.domains.sso.events import IdentityLinked
from app.domains.sso.service import Ports, admission
from app.domains.sso.service.admission import Proven, Role
from app.domains.tenants.service import members, sign_in
from app.integrations.directory_http import DirectoryUnavailable
from app.integrations.entra import Tokens
from app.integrations.id_tokens import Claims


def take(ports: Ports, link_token: str) -> Proven:
    """Whom the token is about.

    Raises:
        LinkInvalid: nobody, or nobody any more.
    """
    parcel = ports.parcels.take("link", link_token)
    if parcel is None:
        raise LinkInvalid("This link_token is not good any more; sign in with the directory again.")
    return Proven(
        tenant_id=UUID(parcel["tenant"]),
        claims=Claims(
            directory_id=UUID(parcel["directory"]),
            object_id=UUID(parcel["object"]),
            email=parcel["email"],
            name=parcel["name"],
        ),
        tokens=Tokens(
            id_token=None,
            access_token=parcel["access_token"],
            expires_at=datetime.fromisoformat(parcel["expires_at"]),
            cache=parcel["cache"],
        ),
    )


def link(ports: Ports, proven: Proven, opened: Opened) -> Opened:
    """Links the account whose password has just opened the session.

    The directory has authenticated it too then.

    Raises:
        AccountRefused: its address is not proven, or it is no member and may not become one.
        NoRole: the directory's groups have no role for it.
        LinkInvalid: somebody was faster.
    """
    given = admission.role_of(
        ports, tenant_id=proven.tenant_id, access_token=proven.tokens.access_token
    )
    with main_session(tenant_id=proven.tenant_id) as session:
        admission.require_usable(session, opened.user_id, proven.claims)
        _require_standing(session, proven, opened.user_id, given)
        try:
            with session.begin_nested():
                admission.link(session, ports, proven, user_id=opened.user_id)
        except IntegrityError as error:
            raise LinkInvalid("This person is linked with an account already.") from error
        events.record(
            session,
            IdentityLinked(
                user_id=opened.user_id,
                tenant_id=proven.tenant_id,
                object_id=proven.claims.object_id,
            ),
        )
        return sessions.add_directory(
            session,
            user_id=opened.user_id,
            session_id=opened.session_id,
            tenant_id=proven.tenant_id,
        )


def _require_standing(session: MainSession, proven: Proven, user_id: UUID, given: Role) -> None:
    """That the account is a member, or becomes one: by an address in the tenant's own domains."""
    tenant_id = proven.tenant_id
    standing = members.standing(session, tenant_id=tenant_id, user_id=user_id)
    if standing is None:
        policy = sign_in.get(session, tenant_id)
        email = users.get_user(session, user_id).email
        welcome = policy is not None and policy.auto_provisioning_enabled and policy.owns(email)
        if not welcome or email != proven.claims.email:
            raise _refused(
                "This account is no member of the tenant; ask for an invitation.", proven
            )
        if given.source == "unknown":
            raise DirectoryUnavailable("Your groups cannot be asked for just now; try again soon.")
        if given.role is None:
            raise admission.no_role(proven.claims.email)
        members.add_member(session, tenant_id=tenant_id, user_id=user_id, role=given.role)
        session.flush()
    elif not standing.active:
        raise _refused("This membership is inactive; ask an owner.", proven)
    elif not admission.apply_role(session, tenant_id=tenant_id, user_id=user_id, given=given):
        raise admission.no_role(proven.claims.email)


def _refused(detail: str, proven: Proven) -> AccountRefused:
    return AccountRefused(detail, reason="no_member", account=proven.claims.email)
