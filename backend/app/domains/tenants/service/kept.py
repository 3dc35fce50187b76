"""Databases that lie beside a tenant's own: one restored from a backup, or one it has replaced.

Each has a row from before it is made until its drop is confirmed, so that none is ever unknown.
Nobody is let into one. It becomes the tenant's by an exchange of two rows, and goes at its time.
"""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select

from app.core import clock, events, ids
from app.core.db import MainSession, main_session, platform_session
from app.domains.tenants import queries
from app.domains.tenants.errors import (
    AlreadyHeld,
    KeptDatabaseNotFound,
    NotReadyToSwap,
)
from app.domains.tenants.events import TenantDatabaseSwapped
from app.domains.tenants.models import KeptDatabase, TenantState
from app.domains.tenants.service import transitions
from app.integrations.storage import Storage
from app.tenancy.locations import Door, TenantLocation
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.names import database_beside

_WITH_DATA: Final = (TenantState.ACTIVE, TenantState.SUSPENDED)


class Kind(StrEnum):
    RESTORED = "restored"
    FORMER = "former"


def reserve(
    manager: TenantDatabaseManager,
    *,
    tenant_id: UUID,
    backup_id: UUID | None,
    kept: timedelta,
    opaque: bool,
) -> tuple[UUID, TenantLocation]:
    """A row, a name and a login for a database to restore into; makes nothing on a server.

    Raises:
        NotFound, WrongState: there is no such tenant, or it has no database to lie beside.
    """
    kept_id = ids.new_id()
    with transitions.begun(tenant_id, None, allowed=_WITH_DATA) as transition:
        name = database_beside(transition.tenant.slug, tenant_id, kept_id, opaque=opaque)
        location = manager.location_beside(transition.location, name)
        row = KeptDatabase(
            id=kept_id,
            tenant_id=tenant_id,
            server=location.server,
            database=location.database,
            sealed_credentials=location.sealed_credentials,
            kind=Kind.RESTORED,
            backup_id=backup_id,
            expires_at=clock.now() + kept,
        )
        transition.session.add(row)
    return kept_id, location


def make_ready(*, tenant_id: UUID, kept_id: UUID, revision: str) -> None:
    """Lets the database be swapped in: it is whole, and was inspected."""
    with main_session(tenant_id=tenant_id) as session:
        row = session.get(KeptDatabase, kept_id, with_for_update=True)
        if row is None:
            raise KeptDatabaseNotFound("There is no such database beside the tenant's.")
        row.schema_revision = revision


def swap(
    manager: TenantDatabaseManager, *, tenant_id: UUID, kept_id: UUID, grace: timedelta
) -> TenantLocation:
    """Makes the kept database the tenant's, and keeps the tenant's for ``grace``; says where it is.

    Undone by itself: the database that was replaced is swapped back in like any other.

    Raises:
        NotFound, WrongState: there is no such tenant, or it is neither active nor suspended.
        KeptDatabaseNotFound, NotReadyToSwap: there is no such database, or it is not whole.
        AlreadyHeld: the database is being moved.
    """
    with transitions.begun(tenant_id, None, allowed=_WITH_DATA) as transition:
        session = transition.session
        own, row = queries.database(session, tenant_id), session.get(KeptDatabase, kept_id)
        if own is None or row is None or row.tenant_id != tenant_id:
            raise KeptDatabaseNotFound("There is no such database beside the tenant's.")
        if own.held_until is not None and own.held_until > clock.now():
            raise AlreadyHeld("Other work holds this tenant at the moment; try again.")
        if row.schema_revision is None:
            raise NotReadyToSwap("This database is not whole: restore the backup anew.")
        former = (own.server, own.database, own.sealed_credentials, own.schema_revision)
        present = (row.server, row.database, row.sealed_credentials, row.schema_revision)
        # A name stands in one row of a table at a time.
        session.delete(row)
        session.flush()
        own.server, own.database, own.sealed_credentials, own.schema_revision = present
        server, database, sealed_credentials, revision = former
        session.add(
            KeptDatabase(
                id=kept_id,
                tenant_id=tenant_id,
                server=server,
                database=database,
                sealed_credentials=sealed_credentials,
                schema_revision=revision,
                kind=Kind.FORMER,
                expires_at=clock.now() + grace,
            )
        )
        swapped = TenantDatabaseSwapped(
            tenant_id=tenant_id, former=database, present=own.database, backup_id=row.backup_id
        )
        events.record(session, swapped)
        transitions.promise(session, tenant_id)
    shut_out_all(manager, tenant_id=tenant_id)
    present_location = _present(tenant_id)
    transitions.settle(manager, present_location)
    return present_location


def shut_out_all(manager: TenantDatabaseManager, *, tenant_id: UUID) -> None:
    """Lets nobody into what lies beside the tenant's database, and ends who is in there."""
    with main_session(tenant_id=tenant_id) as session:
        rows = rows_of(session, tenant_id)
    for row in rows:
        manager.settle_tenant_database(location_of(row), lambda: Door.SHUT)


def drop(
    manager: TenantDatabaseManager, storage: Storage, *, tenant_id: UUID, kept_id: UUID
) -> None:
    """Drops a kept database and its files, and then its row; repeating it is harmless.

    Raises:
        KeptDatabaseNotFound: there is no such database beside the tenant's.
        ServerUnavailable, StorageUnavailable: the row stays, and with it the rest.
    """
    with main_session(tenant_id=tenant_id) as session:
        row = session.get(KeptDatabase, kept_id, with_for_update=True)
        if row is None:
            raise KeptDatabaseNotFound("There is no such database beside the tenant's.")
        row.schema_revision = None  # nobody swaps it in from now on
        location = location_of(row)
    manager.drop_tenant_database(location)
    storage.delete_all(f"tenants/{location.database}")
    with main_session(tenant_id=tenant_id) as session:
        session.execute(delete(KeptDatabase).where(KeptDatabase.id == kept_id))


def drop_all(manager: TenantDatabaseManager, storage: Storage, *, tenant_id: UUID) -> None:
    """For a tenant that is purged."""
    with main_session(tenant_id=tenant_id) as session:
        rows = rows_of(session, tenant_id)
    for row in rows:
        drop(manager, storage, tenant_id=tenant_id, kept_id=row.id)


def drop_overdue(manager: TenantDatabaseManager, storage: Storage) -> int:
    """Drops those whose time is over; how many."""
    with platform_session() as session:
        statement = select(KeptDatabase).where(KeptDatabase.expires_at <= clock.now())
        overdue = [(row.tenant_id, row.id) for row in session.scalars(statement)]
    for tenant_id, kept_id in overdue:
        drop(manager, storage, tenant_id=tenant_id, kept_id=kept_id)
    return len(overdue)


def rows_of(session: MainSession, tenant_id: UUID) -> Sequence[KeptDatabase]:
    statement = select(KeptDatabase).where(KeptDatabase.tenant_id == tenant_id)
    return session.scalars(statement.order_by(KeptDatabase.id)).all()


def unfinished(session: MainSession) -> set[UUID]:
    """The tenants beside whose databases one lies that is not whole."""
    statement = select(KeptDatabase.tenant_id).where(KeptDatabase.schema_revision.is_(None))
    return set(session.scalars(statement))


def known_names(session: MainSession) -> set[str]:
    return set(session.scalars(select(KeptDatabase.database)))


def location_of(row: KeptDatabase) -> TenantLocation:
    return TenantLocation(
        tenant_id=row.tenant_id,
        server=row.server,
        database=row.database,
        sealed_credentials=row.sealed_credentials,
    )


def _present(tenant_id: UUID) -> TenantLocation:
    with main_session(tenant_id=tenant_id) as session:
        location = queries.location(session, tenant_id)
    if location is None:
        raise KeptDatabaseNotFound("The tenant was purged meanwhile.")
    return location
