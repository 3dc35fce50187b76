"""The one query of the access check."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

# A narrow SECURITY DEFINER function: the one way across row level security.
_RESOLVE = text("SELECT * FROM resolve_access(:session_id, :tenant_id)")


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


def resolve_access(
    connection: Connection, *, session_id: UUID, tenant_id: UUID | None
) -> Access | None:
    """None where the session is unknown, revoked or expired, or its user is inactive."""
    row = connection.execute(
        _RESOLVE, {"session_id": session_id, "tenant_id": tenant_id}
    ).one_or_none()
    return None if row is None else Access(*row)
