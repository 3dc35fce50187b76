"""Where a tenant's data lies."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from app.core.errors import AppError, Unavailable


class TenantUnavailable(Unavailable):
    """The tenant's database cannot be used just now; other tenants' can."""

    code = "tenant_unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLocation:
    """A tenant's database, its role (of the same name) and the sealed login of that role.

    ``read_only`` is what the registry said when it was asked; what holds is the role's membership.
    ``spare_id`` names the database out of the pool that it is going to be, until it is.
    ``generation`` grows with each move to another server: an older one is where it no longer lies.
    """

    tenant_id: UUID
    server: str
    database: str
    sealed_credentials: str = field(repr=False)
    read_only: bool = False
    spare_id: UUID | None = None
    generation: int = 0

    @property
    def key(self) -> str:
        """What its connections are kept by: those to where it lay before are another's."""
        return f"{self.database}/{self.generation}" if self.generation else self.database

    @property
    def role(self) -> str:
        return self.database

    @property
    def context(self) -> str:
        """What the credentials are sealed for."""
        return str(self.tenant_id)


class Door(StrEnum):
    """How a tenant's database stands to its role."""

    OPEN = "open"
    READ_ONLY = "read-only"
    SHUT = "shut"
    GONE = "gone"


class Registry(Protocol):
    """What the tenants' domain supplies: the location behind a database's name, and servers."""

    def sealed_servers(self) -> Mapping[str, str]:
        """The provisioner's sealed URL of each server but the default one, by name."""
        ...

    def locate(self, database: str) -> TenantLocation:
        """The location.

        Raises:
            NotFound: no tenant has this database.
        """
        ...

    def why_read_only(self, tenant_id: UUID) -> AppError | None:
        """What to answer to a write that the tenant's role was not allowed; None: no reason."""
        ...


# No default: code that names no tenant reaches no tenant.
_current: ContextVar[TenantLocation] = ContextVar("tenant_location")


class NoTenant(LookupError):
    """A tenant connection was asked for, and nobody had said for which tenant."""


def current_location() -> TenantLocation:
    try:
        return _current.get()
    except LookupError:
        raise NoTenant("no tenant is named in this context") from None


class located:  # noqa: N801  # read as a verb; a generator's context would cost thrice as much
    """Names the tenant for the block."""

    __slots__ = ("_location", "_token")

    def __init__(self, location: TenantLocation) -> None:
        self._location = location

    def __enter__(self) -> None:
        self._token = _current.set(self._location)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
