"""The warm pool: databases that are made ahead, so that creating a tenant need not wait for one.

A spare's row is written before its database is made, and has a revision from the moment that it is
whole. A tenant claims it by deleting the row in the transaction that writes its own, which keeps
the spare's id until the tenant is active: at each moment one of the two rows knows the database.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select

from app.core import clock
from app.core.db import MainSession, platform_session
from app.domains.jobs import service as jobs
from app.domains.tenants.models import SpareDatabase, TenantDatabase
from app.tenancy import migrations, spares
from app.tenancy.inspection import Inventory
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import DEFAULT_SERVER, TenantDatabaseManager
from app.tenancy.migrations import tree
from app.tenancy.server import AlreadyClaimed

_REFILL: Final = "tenants.refill_pool"
# Of those who claim within this time, the first asks for a refill on behalf of all.
_GATHER: Final = timedelta(seconds=2)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """How many databases are ready, await renewal, are half made, or belong to newer code."""

    ready: int = 0
    outdated: int = 0
    unfinished: int = 0
    newer: int = 0


@dataclass(frozen=True, slots=True)
class Refilled:
    """What one refill has made and dropped; None where another process is at it."""

    made: int
    dropped: int


def claim(
    session: MainSession, manager: TenantDatabaseManager, location: TenantLocation
) -> TenantLocation:
    """The location with a spare that is the tenant's once the transaction commits, if one is ready.

    Who claims at the same time gets another, and waits for nobody.
    """
    if not manager.keeps_spares:
        return location
    spare = _take(
        session, server=location.server, revision=migrations.head(), digest=migrations.digest()
    )
    ask_for_refill(session)
    if spare is None:
        return location
    return manager.claimed_location(location, _location_of(manager, spare))


def ask_for_refill(session: MainSession) -> None:
    """Has a job refill the pool soon after the commit; asking often is harmless."""
    due_at = clock.now() + _GATHER
    due_at -= (due_at - _EPOCH) % _GATHER
    jobs.schedule_once(session, _REFILL, slot=f"claims {due_at.isoformat()}", due_at=due_at)


def state(session: MainSession) -> PoolState:
    counts = {"ready": 0, "outdated": 0, "unfinished": 0, "newer": 0}
    for row in _rows(session):
        counts[_kind(row)] += 1
    return PoolState(**counts)


def refill(
    manager: TenantDatabaseManager,
    *,
    size: int,
    tell: Callable[[int, int], None] = lambda _done, _of: None,
) -> Refilled | None:
    """Makes what is missing of ``size``, renews what an older release made, drops what is too much.

    ``tell`` gets how many of how many are made. None: another process is at it already.

    Raises:
        ServerUnavailable: a server is away; what was made so far stays.
    """
    try:
        with manager.server.claimed(manager.installation.id, "pool"):
            dropped = _drop_unwanted(manager, size)
            with platform_session() as session:
                missing = size - state(session).ready
            for done in range(missing):
                _make(manager)
                tell(done + 1, missing)
            return Refilled(max(missing, 0), dropped)
    except AlreadyClaimed:
        return None


def _drop_unwanted(manager: TenantDatabaseManager, size: int) -> int:
    """Without a revision nobody claims them any more; then they go, and last their rows."""
    with platform_session() as session:
        rows = _rows(session, for_change=True)
        kinds = {row.id: _kind(row) for row in rows}
        surplus = [row.id for row in rows if kinds[row.id] == "ready"][size:]
        unwanted = [
            row for row in rows if kinds[row.id] in {"outdated", "unfinished"} or row.id in surplus
        ]
        for row in unwanted:
            row.revision = None
    for row in unwanted:
        _drop(manager, row)
    return len(unwanted)


def _drop(manager: TenantDatabaseManager, row: SpareDatabase) -> None:
    manager.drop_tenant_database(_location_of(manager, row))
    with platform_session() as session:
        session.execute(delete(SpareDatabase).where(SpareDatabase.id == row.id))


def _make(manager: TenantDatabaseManager) -> None:
    spare = manager.new_spare()
    with platform_session() as session:
        row = SpareDatabase(
            id=spare.tenant_id, server=spare.server, sealed_credentials=spare.sealed_credentials
        )
        session.add(row)
    revision, digest = migrations.head(), migrations.digest()
    manager.make_spare(spare)
    with platform_session() as session:
        made = session.get(SpareDatabase, spare.tenant_id)
        if made is not None:
            made.revision, made.digest = revision, digest


def _kind(row: SpareDatabase) -> str:
    """What this process's code thinks of a spare; what newer code made is not its to judge."""
    known = tree.current()
    if row.revision is None:
        return "unfinished"
    if not known.knows(row.revision):
        return "newer"
    if (row.revision, row.digest) == (migrations.head(), migrations.digest()):
        return "ready"
    return "outdated"


def stray(session: MainSession, inventory: Inventory) -> set[UUID]:
    """Spares that nobody will have: half made, or on the server and in no row.

    The inventory was taken before the session began. One that is being made at this moment looks
    half made.
    """
    rows = _rows(session)
    ready = {row.id for row in rows if row.revision is not None} & inventory.whole_spares
    return ({row.id for row in rows} - ready) | (inventory.spares - _known_ids(session))


def drop_stray(manager: TenantDatabaseManager, spare_id: UUID) -> str:
    """Says what was done: nothing, where a refill is under way, or it was claimed meanwhile."""
    try:
        with manager.server.claimed(manager.installation.id, "pool"):
            with platform_session() as session:
                row = session.get(SpareDatabase, spare_id, with_for_update=True)
                if row is None and spare_id in _known_ids(session):
                    return "a tenant's by now"
                if row is not None:
                    row.revision = None
            _drop(manager, row or SpareDatabase(id=spare_id, server=DEFAULT_SERVER))
            return "dropped"
    except AlreadyClaimed:
        return "left alone: the pool is being refilled"


def _location_of(manager: TenantDatabaseManager, row: SpareDatabase) -> TenantLocation:
    return spares.location_of(
        manager.installation,
        row.id,
        server=row.server,
        sealed_credentials=row.sealed_credentials or "",
    )


def _take(session: MainSession, *, server: str, revision: str, digest: str) -> SpareDatabase | None:
    """Takes the oldest spare that is ready out of the pool, past those that others are taking."""
    ready = (
        select(SpareDatabase.id)
        .where(
            SpareDatabase.server == server,
            SpareDatabase.revision == revision,
            SpareDatabase.digest == digest,
        )
        .order_by(SpareDatabase.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    statement = (
        delete(SpareDatabase)
        .where(SpareDatabase.id == ready.scalar_subquery())
        .returning(SpareDatabase)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(statement).one_or_none()


def _rows(session: MainSession, *, for_change: bool = False) -> Sequence[SpareDatabase]:
    """The pool, oldest first; for a change without those that tenants are claiming just now."""
    statement = select(SpareDatabase).order_by(SpareDatabase.id)
    if for_change:
        statement = statement.with_for_update(skip_locked=True)
    return session.scalars(statement).all()


def _known_ids(session: MainSession) -> set[UUID]:
    """The spares that a row knows: the pool's own, and those that tenants have claimed."""
    claimed = select(TenantDatabase.spare_id).where(TenantDatabase.spare_id.is_not(None))
    return set(session.scalars(select(SpareDatabase.id).union(claimed)))
