"""Who is asking, for which tenant, and what that person may do there."""

from dataclasses import dataclass
from uuid import UUID

from app.core.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The answer of the access check; lives as long as one request.

    ``tenant_id`` and ``role`` are None where a request names no tenant; ``location`` is an opaque
    ticket that only the tenant plane can redeem for a session.
    """

    user_id: UUID
    session_id: UUID
    tenant_id: UUID | None
    role: str | None
    permissions: frozenset[str]
    location: object | None

    def allows(self, permission: str) -> bool:
        return permission in self.permissions


class NotAMember(NotFound):
    """The caller may not know of the tenant, nor whether there is one: as for any other address."""

    def __init__(self, *, user_id: UUID, session_id: UUID) -> None:
        super().__init__("There is no such tenant.")
        self.user_id, self.session_id = user_id, session_id
