"""The one query of the access check."""

from typing import Final, NamedTuple
from uuid import UUID

from app.core.db import ask_main
from app.core.questions import Question
from app.core.tenant_names import TenantName

# Narrow SECURITY DEFINER functions: the one way across row level security.
_RESOLVE: Final = Question(b"SELECT * FROM resolve_access($1, $2)", ("session_id", "tenant_id"))
_RESOLVE_NAMED: Final = Question(
    b"SELECT access.*, named.agrees FROM name_tenant($1, $2, $3) named"
    b" JOIN LATERAL resolve_access($4, named.tenant_id) access ON true",
    ("id", "slug", "domain", "session_id"),
)


class Access(NamedTuple):
    """A live session, and the tenant asked for if its user is a member.

    ``opens``: the session was authenticated by what the tenant takes.
    """

    session_id: UUID
    user_id: UUID
    platform_role: str | None
    tenant_id: UUID | None
    tenant_state: str | None
    role: str | None
    server: str | None
    database: str | None
    sealed_credentials: str | None
    schema_revision: str | None
    read_only: bool | None
    generation: int | None
    opens: bool | None
    auth_method: str | None
    names_agree: bool = True


def resolve_access(*, session_id: UUID, tenant: TenantName | None) -> Access | None:
    """None where the session is unknown, revoked or expired, or its user is inactive."""
    if tenant is None or (tenant.slug is None and tenant.domain is None):
        key = {"tenant_id": None if tenant is None else tenant.id}
        rows = ask_main(_RESOLVE, key | {"session_id": session_id})
    else:
        names = {"id": tenant.id, "slug": tenant.slug, "domain": tenant.domain}
        rows = ask_main(_RESOLVE_NAMED, names | {"session_id": session_id})
    return Access(*rows[0]) if rows else None
