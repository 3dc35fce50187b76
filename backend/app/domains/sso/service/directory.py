"""What a person's directory knows of him or her; and whose directory signs somebody in."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar
from uuid import UUID

from app.core.db import MainSession, main_session
from app.domains.identity.service import sessions
from app.domains.sso import queries
from app.domains.sso.service import Ports, configuration, connections
from app.domains.tenants.service import sign_in
from app.integrations.graph import GraphRefused, Photo

Result = TypeVar("Result")


def profile(ports: Ports, *, user_id: UUID, tenant_id: UUID | None) -> dict[str, Any]:
    """The person's profile and groups.

    Raises:
        NoConnection, ConnectionLost, DirectoryUnavailable: as `connections.access`.
    """

    def ask(token: str) -> dict[str, Any]:
        return asdict(ports.graph.me(token)) | {"groups": ports.graph.member_of(token)}

    return _asking(ports, user_id, tenant_id, ask)


def photo(ports: Ports, *, user_id: UUID, tenant_id: UUID | None) -> Photo | None:
    """The person's photo, if there is one; raises as `profile`."""
    return _asking(ports, user_id, tenant_id, ports.graph.photo)


def login_addresses(ports: Ports, *, email: str) -> list[dict[str, object]]:
    """Where people with such an address sign in: the domain tells, and not the account."""
    with main_session() as session:
        tenant_id = queries.tenant_by_domain(session, email.rpartition("@")[2].lower())
    if tenant_id is None:
        return []
    return [
        {"tenant_id": tenant_id, "login_url": configuration.login_url(ports.settings, tenant_id)}
    ]


def available(*, tenant_id: UUID) -> bool:
    with main_session(tenant_id=tenant_id) as session:
        policy, row = sign_in.get(session, tenant_id), queries.config(session, tenant_id)
    return policy is not None and policy.takes_directory and row is not None and row.active


def log_out(session: MainSession, ports: Ports, *, user_id: UUID, session_id: UUID) -> str | None:
    """Ends the session; where its directory ends its own, if one authenticated it."""
    live = sessions.get_session(session, user_id=user_id, session_id=session_id)
    sessions.log_out(session, session_id=session_id)
    by = {identity.tenant_id: identity for identity in queries.identities_of(session, user_id)}
    for tenant_id in live.sso_tenant_ids:
        if tenant_id in by:
            return ports.entra.logout_url(
                by[tenant_id].directory_id, return_to=ports.settings.link_origin
            )
    return None


def _asking(
    ports: Ports, user_id: UUID, tenant_id: UUID | None, ask: Callable[[str], Result]
) -> Result:
    access = connections.access(ports, user_id=user_id, tenant_id=tenant_id)
    try:
        return ask(access.token)
    except GraphRefused as error:
        said = "The directory does not let this product ask."
        raise connections.lost(ports, access.identity, said) from error
