"""How a tenant goes from one state to the next, and how the server follows.

The registry changes first, in a transaction of its own; the server is then made to agree with what
the registry says at that moment (`settle`). Whoever comes second, in whatever order, asks the
registry again under the tenant's lock: so any number of changes at once end with both in agreement,
and a crash leaves something that settling again mends.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from app.core import clock
from app.core.db import MainSession, main_session
from app.core.errors import NotFound
from app.domains.jobs import service as jobs
from app.domains.tenants import queries
from app.domains.tenants.errors import WrongState
from app.domains.tenants.models import Tenant, TenantState
from app.tenancy.locations import Door, TenantLocation
from app.tenancy.manager import TenantDatabaseManager

UNFINISHED: Final = (TenantState.REQUESTED, TenantState.CREATING, TenantState.FAILED)

# Whoever changes a tenant is done with it before a job looks after it.
_TIME_TO_FINISH: Final = timedelta(seconds=30)

# While a tenant is being made, whoever makes it has the door.
_DOORS: Final = {
    TenantState.ACTIVE: Door.OPEN,
    TenantState.SUSPENDED: Door.SHUT,
    TenantState.DELETED: Door.SHUT,
    TenantState.PURGING: Door.GONE,
    TenantState.PURGED: Door.GONE,
}


@dataclass(frozen=True, slots=True)
class Transition:
    """A tenant, locked and in its new state; the transaction commits when the block ends."""

    session: MainSession
    tenant: Tenant
    location: TenantLocation
    former: TenantState


@contextmanager
def begun(
    tenant_id: UUID, state: TenantState | None, *, allowed: tuple[TenantState, ...]
) -> Iterator[Transition]:
    """Moves the tenant to the state, or changes something else of it, in a transaction of its own.

    Raises:
        NotFound: there is no such tenant.
        WrongState: the tenant's state is none of those allowed.
    """
    with main_session(tenant_id=tenant_id) as session:
        tenant = queries.tenant_for_change(session, tenant_id)
        location = queries.location(session, tenant_id)
        if tenant is None or location is None:
            raise NotFound("There is no such tenant.")
        former = TenantState(tenant.state)
        if former not in allowed:
            wanted = f"become {state}" if state else "be changed in this"
            raise WrongState(f"A tenant that is {former} cannot {wanted}.")
        tenant.state = state or former
        yield Transition(session, tenant, location, former)


def promise(session: MainSession, tenant_id: UUID, *, due_at: datetime | None = None) -> None:
    """Has a job do what the tenant's state asks for by then, should nobody else live to do it."""
    jobs.schedule(
        session,
        "tenants.finish",
        due_at=due_at or clock.now() + _TIME_TO_FINISH,
        tenant_id=tenant_id,
        tenant=str(tenant_id),
    )


def settle(manager: TenantDatabaseManager, location: TenantLocation) -> None:
    """Makes the server agree with the registry: lets the tenant's role in, shuts it out, or drops.

    Raises:
        ServerUnavailable, TenantUnavailable: it does not yet; the tenant's job will see to it.
    """
    manager.settle_tenant_database(location, lambda: _door(location))


def _door(location: TenantLocation) -> Door | None:
    """Where the tenant lies no longer, nobody opens or shuts anything: its move does."""
    with main_session(tenant_id=location.tenant_id) as session:
        tenant = queries.tenant(session, location.tenant_id)
        if tenant is None:
            return Door.GONE
        row = queries.database(session, tenant.id)
        if row is not None and row.generation != location.generation:
            return None
        door = _DOORS.get(TenantState(tenant.state))
        if door is Door.OPEN and _is_read_only(session, tenant):
            return Door.READ_ONLY
        return door


def _is_read_only(session: MainSession, tenant: Tenant) -> bool:
    row = queries.database(session, tenant.id)
    held = row is not None and row.held_until is not None and row.held_until > clock.now()
    return held or tenant.read_only_since is not None
