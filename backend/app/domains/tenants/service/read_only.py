"""A tenant whose data can be read and not changed: the database refuses, whoever asks.

By an administrator's word, until it is taken back; or held, for the moment that work on the whole
database takes. A hold ends by itself: a process that dies with one leaves a job that ends it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from app.core import clock, events
from app.core.db import MainSession, main_session
from app.core.errors import NotFound
from app.domains.tenants import queries
from app.domains.tenants.errors import AlreadyHeld, CannotBeReadOnly, TenantHeld
from app.domains.tenants.events import TenantMadeReadOnly, TenantMadeWritable
from app.domains.tenants.models import TenantDatabase, TenantState
from app.domains.tenants.service import transitions
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager

_WITH_DATA: Final = (TenantState.ACTIVE, TenantState.SUSPENDED)


class HoldLost(AlreadyHeld):
    """The hold's time was over before its work was done; the tenant may have been written to."""

    code = "tenant_hold_lost"


@dataclass(frozen=True, slots=True)
class Hold:
    tenant_id: UUID
    until: datetime


def make_read_only(
    manager: TenantDatabaseManager, *, tenant_id: UUID, reason: str | None = None
) -> None:
    """From its return on nothing changes the tenant's data, in any process. Reads go on.

    ``reason`` is told to its owners.

    Raises:
        NotFound, WrongState: there is no such tenant, or it has no data to protect.
        CannotBeReadOnly: its schema is too old.
    """
    _require_able(manager, tenant_id)
    with transitions.begun(tenant_id, None, allowed=_WITH_DATA) as transition:
        tenant = transition.tenant
        tenant.read_only_since = tenant.read_only_since or clock.now()
        tenant.read_only_reason = reason
        events.record(transition.session, TenantMadeReadOnly(tenant_id=tenant_id, reason=reason))
        transitions.promise(transition.session, tenant_id)
    transitions.settle(manager, transition.location)


def make_writable(manager: TenantDatabaseManager, *, tenant_id: UUID) -> None:
    """Undoes `make_read_only`; done again it changes nothing.

    Raises:
        NotFound, WrongState: there is no such tenant, or it has no data.
    """
    with transitions.begun(tenant_id, None, allowed=_WITH_DATA) as transition:
        tenant = transition.tenant
        if tenant.read_only_since is not None:
            events.record(transition.session, TenantMadeWritable(tenant_id=tenant_id))
        tenant.read_only_since = tenant.read_only_reason = None
        transitions.promise(transition.session, tenant_id)
    transitions.settle(manager, transition.location)


@contextmanager
def held(manager: TenantDatabaseManager, *, tenant_id: UUID, longest: timedelta) -> Iterator[Hold]:
    """Keeps a tenant read-only for the block, and for no longer than ``longest``.

    Writes are told to come again: 503 with Retry-After. Who makes something final of what was read
    asks `require_held` in the same transaction.

    Raises:
        NotFound, WrongState: there is no such tenant, or it is not active.
        AlreadyHeld: other work holds it.
        CannotBeReadOnly: its schema is too old.
    """
    with held_until(manager, tenant_id=tenant_id, until=clock.now() + longest) as hold:
        yield hold


@contextmanager
def held_until(
    manager: TenantDatabaseManager, *, tenant_id: UUID, until: datetime
) -> Iterator[Hold]:
    """`held`, for who has to know the hold's end before it begins."""
    _require_able(manager, tenant_id)
    with transitions.begun(tenant_id, None, allowed=_WITH_DATA) as transition:
        row = queries.database(transition.session, tenant_id)
        if row is None or _is_held(row):
            raise AlreadyHeld("Other work holds this tenant at the moment; try again.")
        row.held_until = until
        transitions.promise(transition.session, tenant_id, due_at=until)
    try:
        transitions.settle(manager, transition.location)
        yield Hold(tenant_id, until)
    finally:
        _release(manager, tenant_id, until)


@contextmanager
def undisturbed(tenant_id: UUID) -> Iterator[tuple[MainSession, TenantLocation]]:
    """The tenant's place, which nothing moves or restores until the block ends; a transaction.

    Raises:
        NotFound, WrongState: there is no such tenant, or it has no data.
        TenantHeld: it is being moved at this moment.
    """
    with transitions.begun(tenant_id, None, allowed=_WITH_DATA) as transition:
        row = queries.database(transition.session, tenant_id)
        if row is None or _is_held(row):
            raise TenantHeld("This tenant's data can be changed again in a moment.")
        yield transition.session, transition.location


def require_held(session: MainSession, hold: Hold) -> None:
    """That nothing was written since the hold began, and nothing is until the transaction ends.

    Raises:
        HoldLost: its time is over.
    """
    queries.tenant_for_change(session, hold.tenant_id)  # whoever ends a hold waits for this row
    row = queries.database(session, hold.tenant_id)
    if row is None or row.held_until != hold.until or hold.until <= clock.now():
        raise HoldLost("This took longer than the tenant may be held; try again.")


def end_overdue_hold(*, tenant_id: UUID) -> None:
    """Forgets a hold whose time is over; the server follows by `transitions.settle`."""
    with main_session(tenant_id=tenant_id) as session:
        queries.tenant_for_change(session, tenant_id)
        row = queries.database(session, tenant_id)
        if row is not None and row.held_until is not None and row.held_until <= clock.now():
            row.held_until = None


def _release(manager: TenantDatabaseManager, tenant_id: UUID, until: datetime) -> None:
    with main_session(tenant_id=tenant_id) as session:
        queries.tenant_for_change(session, tenant_id)
        row = queries.database(session, tenant_id)
        if row is not None and row.held_until == until:
            row.held_until = None
        location = queries.location(session, tenant_id)  # it may have been moved
    if location is not None:
        transitions.settle(manager, location)


def _is_held(row: TenantDatabase) -> bool:
    return row.held_until is not None and row.held_until > clock.now()


def _require_able(manager: TenantDatabaseManager, tenant_id: UUID) -> None:
    with main_session(tenant_id=tenant_id) as session:
        row = queries.database(session, tenant_id)
        location = queries.location(session, tenant_id)
    if row is None or location is None:
        raise NotFound("There is no such tenant.")
    if row.schema_revision is not None and not manager.can_be_read_only(location):
        raise CannotBeReadOnly("Migrate this tenant's schema first.")
