"""What each role may do: resource and action, in one place."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_VIEWER: Final = frozenset({"tenants:read", "members:read", "documents:read"})
_USER: Final = _VIEWER | {"documents:create", "documents:delete"}
_ADMIN: Final = _USER | {"documents:manage", "members:manage"}
_OWNER: Final = _ADMIN | {"tenants:manage"}

# documents:delete is for one's own; documents:manage lifts that.
PERMISSIONS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"viewer": _VIEWER, "user": _USER, "admin": _ADMIN, "owner": _OWNER}
)
