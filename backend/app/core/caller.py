"""Who is asking, for which tenant, and what that person may do there."""

from dataclasses import dataclass
from uuid import UUID


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
