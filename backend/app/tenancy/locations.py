"""Where a tenant's data lies."""

from collections.abc import Iterator
from contextlib import contextmanager
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
    """

    tenant_id: UUID
    server: str
    database: str
    sealed_credentials: str = field(repr=False)
    read_only: bool = False
    spare_id: UUID | None = None

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
    """What the tenants' domain supplies: the location behind a database's name."""

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


@contextmanager
def located(location: TenantLocation) -> Iterator[None]:
    token = _current.set(location)
    try:
        yield
    finally:
        _current.reset(token)
