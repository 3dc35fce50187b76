"""Turns a token's claims into a `Caller`, or refuses. Nothing here is cached."""

from app.core.caller import Caller, NotAMember
from app.core.db import main_session
from app.core.errors import Unauthenticated
from app.core.tenant_names import TenantMismatch, TenantName
from app.core.tokens import AccessClaims
from app.domains.access import policy, queries
from app.domains.access.errors import (
    ReauthenticationRequired,
    TenantDeleted,
    TenantNotReady,
    TenantSuspended,
)
from app.domains.access.queries import Access
from app.domains.tenants.service import ledger
from app.tenancy.locations import TenantLocation
from app.tenancy.migrations import tree


def identify(claims: AccessClaims, *, tenant: TenantName | None, any_state: bool) -> Caller:
    """The caller, as the main database sees it at this moment.

    Raises:
        Unauthenticated: the session is not live.
        NotFound: no member; the same as for a tenant that does not exist.
        TenantMismatch: a member of the one names another one too.
        ReauthenticationRequired: the session was authenticated by what the tenant does not take.
        TenantSuspended, TenantNotReady, TenantDeleted: the tenant's state bars it, unless
            ``any_state``; a deleted one is seen by those who may restore it.
    """
    access = queries.resolve_access(session_id=claims.session_id, tenant=tenant)
    if access is None or access.user_id != claims.user_id:
        raise Unauthenticated("This session has ended; sign in again.")
    permissions = policy.permissions(role=access.role, platform_role=access.platform_role)
    if tenant is not None:
        _require_entry(access, permissions, any_state=any_state)
    return Caller(
        user_id=access.user_id,
        session_id=access.session_id,
        tenant_id=access.tenant_id,
        role=access.role,
        permissions=permissions,
        location=_location(access),
    )


def _require_entry(access: Access, permissions: frozenset[str], *, any_state: bool) -> None:
    if access.tenant_id is None:
        raise NotAMember(user_id=access.user_id, session_id=access.session_id)
    if not access.names_agree:
        raise TenantMismatch
    if access.role is not None and not access.opens:
        raise _reauthentication(access)
    restorable = any_state and "tenants:delete" in permissions
    if access.tenant_state in {"deleted", "purging"} and access.role and not restorable:
        raise TenantDeleted("This tenant is deleted; its owner may be able to restore it.")
    if access.role is not None and not any_state:
        _require_ready(access)


def _reauthentication(access: Access) -> ReauthenticationRequired:
    if access.auth_method == "local":
        return ReauthenticationRequired(
            "This tenant takes passwords: sign in with yours.", login_url="/api/auth/login"
        )
    return ReauthenticationRequired(
        "This tenant's members sign in with its directory.",
        login_url=f"/api/auth/sso/azure/login/{access.tenant_id}",
    )


def _require_ready(access: Access) -> None:
    if access.tenant_state == "suspended":
        raise TenantSuspended("This tenant is suspended; its owner can tell you why.")
    if access.tenant_state != "active":
        raise TenantNotReady(f"This tenant is {access.tenant_state}.")
    if not _can_serve(access.schema_revision):
        raise TenantNotReady("This tenant's database is being brought up to date.")


def _can_serve(revision: str | None) -> bool:
    """Whether this code serves a schema: one it knows, or a newer one that was announced to it."""
    known = tree.current()
    if revision is None or known.knows(revision):
        return revision in known.supported
    with main_session() as session:
        oldest_code = ledger.oldest_code_for(session, revision)
    return oldest_code is not None and known.knows(oldest_code)


def _location(access: Access) -> TenantLocation | None:
    if not (access.tenant_id and access.server and access.database and access.sealed_credentials):
        return None
    return TenantLocation(
        tenant_id=access.tenant_id,
        server=access.server,
        database=access.database,
        sealed_credentials=access.sealed_credentials,
        read_only=bool(access.read_only),
        generation=access.generation or 0,
    )
