"""From a person whom a directory has proven to an account here, and its role in the tenant.

A person is (directory, object id). An address opens nothing: it proposes an account, in a domain
that the tenant has proven, and the account's owner proves that it is the same person.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from app.core import clock, events, ids
from app.core.db import MainSession, main_session
from app.domains.identity.errors import EmailTaken
from app.domains.identity.service import users
from app.domains.sso import queries
from app.domains.sso.errors import AccountRefused, LinkRequired, NoRole, NotProvisioned
from app.domains.sso.events import IdentityProvisioned, SsoLoggedIn
from app.domains.sso.models import Status, UserAzureIdentity
from app.domains.sso.service import Ports
from app.domains.tenants.service import members, sign_in
from app.integrations.directory_http import DirectoryUnavailable
from app.integrations.entra import Tokens
from app.integrations.graph import GraphRefused
from app.integrations.id_tokens import Claims

PROVIDER: Final = "azure"
_STRONGEST_FIRST: Final = ("owner", "admin", "user", "viewer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """Whom the tenant's directory has signed in, and the tokens that it gave."""

    tenant_id: UUID
    claims: Claims
    tokens: Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    user_id: UUID
    tenant_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What the directory's groups say of somebody; None is no role.

    ``unmapped``: the tenant gives groups no roles; ``unknown``: nobody could be asked.
    """

    source: Literal["groups", "unmapped", "unknown"]
    role: str | None


def admit(ports: Ports, proven: Proven) -> Admitted:
    """The account of somebody who is linked with one, or for whom the tenant makes one.

    Raises:
        AccountRefused: the account is inactive, or no member any more.
        NoRole: no group of his or hers has a role here, and there is none by default.
        LinkRequired, NotProvisioned: nobody here is known to be this person.
        DirectoryUnavailable: the groups of somebody new cannot be asked for.
    """
    given = role_of(ports, tenant_id=proven.tenant_id, access_token=proven.tokens.access_token)
    try:
        return _admit(ports, proven, given)
    except EmailTaken:  # the same person came twice at once, and the other one was provisioned
        return _admit(ports, proven, given)


def _admit(ports: Ports, proven: Proven, given: Role) -> Admitted:
    with main_session(tenant_id=proven.tenant_id) as session:
        identity = _identity(session, proven)
        if identity is not None:
            return _admit_known(session, ports, proven, identity, given)
        if _may_be_provisioned(session, proven):
            return _provision(session, ports, proven, given)
        exists = _is_proposed(session, proven)
    raise _unlinked(ports, proven, exists=exists)


def role_of(ports: Ports, *, tenant_id: UUID, access_token: str) -> Role:
    """The strongest role of the person's groups, or else the tenant's default one."""
    with main_session(tenant_id=tenant_id) as session:
        row, policy = queries.config(session, tenant_id), sign_in.get(session, tenant_id)
    mapped = {} if row is None else {UUID(group): role for group, role in row.group_roles.items()}
    default = None if policy is None else policy.default_role
    if not mapped:
        return Role(source="unmapped", role=default)
    try:
        found = ports.graph.among_groups(access_token, mapped.keys())
    except (DirectoryUnavailable, GraphRefused):
        return Role(source="unknown", role=None)
    roles = {mapped[group] for group in found}
    strongest = next((role for role in _STRONGEST_FIRST if role in roles), default)
    return Role(source="groups", role=strongest)


def apply_role(session: MainSession, *, tenant_id: UUID, user_id: UUID, given: Role) -> bool:
    """Gives a member the directory's role; False where it says that there is none for him or her.

    Where groups have no roles, or could not be asked for, a member keeps the one that is there.
    """
    if given.source != "groups":
        return True
    if given.role is None:
        return False
    members.take_role(session, tenant_id=tenant_id, user_id=user_id, role=given.role)
    return True


def store(ports: Ports, identity: UserAzureIdentity, tokens: Tokens, *, at: datetime) -> None:
    """The tokens of a new sign-in, in place of those that were there, whoever renews them."""
    identity.sealed_cache = ports.secrets.seal(tokens.cache, context=str(identity.tenant_id))
    identity.version = (identity.version or 0) + 1
    identity.status, identity.claims_challenge = Status.CONNECTED, None
    identity.access_expires_at = tokens.expires_at
    identity.refresh_at = identity.refreshing_until = None
    identity.last_refreshed_at = at


def link(session: MainSession, ports: Ports, proven: Proven, *, user_id: UUID) -> UserAzureIdentity:
    """The account and the person are one from now on; a former person of the account's is not."""
    claims = proven.claims
    for former in queries.identities_of(session, user_id):
        if former.tenant_id == proven.tenant_id:
            session.delete(former)
    session.flush()
    identity = UserAzureIdentity(
        id=ids.new_id(),
        user_id=user_id,
        tenant_id=proven.tenant_id,
        directory_id=claims.directory_id,
        object_id=claims.object_id,
    )
    _note_login(session, ports, identity, proven)
    session.add(identity)
    return identity


def require_usable(session: MainSession, user_id: UUID, claims: Claims) -> None:
    """That the account is active, and its address proven.

    Raises:
        AccountRefused: it is not.
    """
    user = users.get_user(session, user_id)
    if not user.active:
        raise AccountRefused(
            "This account is inactive; ask an owner.", reason="inactive", account=claims.email
        )
    if not user.email_verified:
        raise AccountRefused(
            "Verify your e-mail address here first; then sign in by the directory.",
            reason="unverified",
            account=claims.email,
        )


def _identity(session: MainSession, proven: Proven) -> UserAzureIdentity | None:
    return queries.identity(
        session,
        tenant_id=proven.tenant_id,
        directory_id=proven.claims.directory_id,
        object_id=proven.claims.object_id,
    )


def _is_proposed(session: MainSession, proven: Proven) -> bool:
    """Whether an account has the person's address, in a domain that the tenant has proven."""
    policy, email = sign_in.get(session, proven.tenant_id), proven.claims.email
    if policy is None or email is None or not policy.owns(email):
        return False
    return users.find_by_email(session, email) is not None


def _admit_known(
    session: MainSession, ports: Ports, proven: Proven, identity: UserAzureIdentity, given: Role
) -> Admitted:
    account = proven.claims.email
    user_id = identity.user_id
    require_usable(session, user_id, proven.claims)
    standing = members.standing(session, tenant_id=proven.tenant_id, user_id=user_id)
    if standing is None or not standing.active:
        raise AccountRefused(
            "You are no member of this tenant any more; ask for an invitation.",
            reason="no_member" if standing is None else "inactive",
            account=account,
        )
    if not apply_role(session, tenant_id=proven.tenant_id, user_id=user_id, given=given):
        raise no_role(account)
    _note_login(session, ports, identity, proven)
    return Admitted(user_id=user_id, tenant_id=proven.tenant_id)


def _may_be_provisioned(session: MainSession, proven: Proven) -> bool:
    """Somebody of the tenant's own domains, for whom there is no account."""
    policy, email = sign_in.get(session, proven.tenant_id), proven.claims.email
    return (
        policy is not None
        and policy.auto_provisioning_enabled
        and email is not None
        and policy.owns(email)
        and users.find_by_email(session, email) is None
    )


def _provision(session: MainSession, ports: Ports, proven: Proven, given: Role) -> Admitted:
    claims = proven.claims
    if given.source == "unknown":
        raise DirectoryUnavailable("Your groups cannot be asked for just now; try again soon.")
    if given.role is None:
        raise no_role(claims.email)
    user = users.add_user(
        session,
        email=str(claims.email),
        name=claims.name,
        password_hash=None,
        verified=True,  # the tenant owns the domain, and its directory the address
        sso_provider=PROVIDER,
    )
    role = members.add_member(session, tenant_id=proven.tenant_id, user_id=user.id, role=given.role)
    session.flush()
    link(session, ports, proven, user_id=user.id)
    events.record(
        session, IdentityProvisioned(user_id=user.id, tenant_id=proven.tenant_id, role=role)
    )
    return Admitted(user_id=user.id, tenant_id=proven.tenant_id)


def _note_login(
    session: MainSession, ports: Ports, identity: UserAzureIdentity, proven: Proven
) -> None:
    now = clock.now()
    store(ports, identity, proven.tokens, at=now)
    identity.last_login_at = now
    events.record(
        session,
        SsoLoggedIn(
            user_id=identity.user_id,
            tenant_id=proven.tenant_id,
            object_id=proven.claims.object_id,
        ),
    )


def no_role(account: str | None) -> NoRole:
    return NoRole(
        "None of your groups has a role in this tenant; ask your administrator for one.",
        reason="no_role",
        account=account,
    )


def _unlinked(ports: Ports, proven: Proven, *, exists: bool) -> LinkRequired | NotProvisioned:
    """The person is kept for as long as it takes to prove an account's password."""
    claims, tokens = proven.claims, proven.tokens
    token = ports.parcels.keep(
        "link",
        {
            "tenant": str(proven.tenant_id),
            "directory": str(claims.directory_id),
            "object": str(claims.object_id),
            "email": claims.email,
            "name": claims.name,
            "cache": tokens.cache,
            "access_token": tokens.access_token,
            "expires_at": tokens.expires_at.isoformat(),
        },
        seconds=ports.settings.sso_login_seconds,
    )
    if exists:
        return LinkRequired(
            "There is an account with your address; prove its password once to link them.",
            reason="link_required",
            account=claims.email,
            link_token=token,
        )
    return NotProvisioned(
        "Nobody here is linked with you; ask for an invitation, or link your account.",
        reason="not_provisioned",
        account=claims.email,
        link_token=token,
    )
