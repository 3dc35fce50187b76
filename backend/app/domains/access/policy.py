"""What each role may do: resource and action, in one place."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_VIEWER: Final = frozenset({"tenants:read", "members:read", "documents:read", "events:read"})
_USER: Final = _VIEWER | {"documents:create", "documents:update", "documents:delete"}
_ADMIN: Final = _USER | {
    "documents:manage",
    "members:manage",
    "domains:manage",
    "webhooks:manage",
    "audit:read",
}
_OWNER: Final = _ADMIN | {
    "tenants:manage",
    "tenants:delete",
    "exports:manage",
    "backups:read",
    "sandboxes:manage",
    "sso:manage",
}

# Of a platform administrator in a tenant that he or she is no member of. Nothing of its data.
PLATFORM_ADMIN: Final = frozenset(
    {
        "tenants:read",
        "tenants:manage",
        "tenants:delete",
        "tenants:suspend",
        "tenants:read_all",
        "quotas:manage",
        "backups:read",
        "backups:manage",
        "dead_letters:manage",
        "fleet:read",
        "fleet:migrate",
        "audit:read_all",
    }
)

# documents:update and documents:delete are for one's own; documents:manage lifts that.
PERMISSIONS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"viewer": _VIEWER, "user": _USER, "admin": _ADMIN, "owner": _OWNER}
)


def permissions(*, role: str | None, platform_role: str | None) -> frozenset[str]:
    """What somebody may do in a tenant: as its member, and as the platform's administrator."""
    as_member = PERMISSIONS.get(role or "", frozenset())
    return as_member | PLATFORM_ADMIN if platform_role == "platform_admin" else as_member
