"""The one query of the access check."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from app.core.tenant_names import TenantName

# Narrow SECURITY DEFINER functions: the one way across row level security.
_RESOLVE = text("SELECT * FROM resolve_access(:session_id, :tenant_id)")
_RESOLVE_NAMED = text(
    "SELECT access.*, named.agrees FROM name_tenant(:id, :slug, :domain) named"
    " JOIN LATERAL resolve_access(:session_id, named.tenant_id) access ON true"
)


@dataclass(frozen=True, slots=True)
class Access:
    """A live session, and the tenant asked for if its user is a member."""

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
    names_agree: bool = True


def resolve_access(
    connection: Connection, *, session_id: UUID, tenant: TenantName | None
) -> Access | None:
    """None where the session is unknown, revoked or expired, or its user is inactive."""
    if tenant is None or (tenant.slug is None and tenant.domain is None):
        key = {"tenant_id": None if tenant is None else tenant.id}
        row = connection.execute(_RESOLVE, key | {"session_id": session_id}).one_or_none()
    else:
        names = {"id": tenant.id, "slug": tenant.slug, "domain": tenant.domain}
        row = connection.execute(_RESOLVE_NAMED, names | {"session_id": session_id}).one_or_none()
    return None if row is None else Access(*row)
