"""Sealing: entries get their position and hash in the chain, and its end a signed checkpoint.

Sealing happens after the commit, so that no two writers of a tenant wait for each other. The
database's own function chains, one caller at a time.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from app.core import clock, events
from app.core.db import MainSession, platform_session
from app.core.tasks import TenantClosed, TenantGone
from app.domains.audit import queries
from app.domains.audit.events import TrailSealed
from app.domains.audit.service import platform_checkpoints
from app.domains.audit.service.checkpoints import PLATFORM, Signer, Statement
from app.domains.audit.service.recording import ask_for_seal
from app.domains.tenants.service import ledger, moving
from app.integrations.storage import Storage
from app.settings import Settings
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.server import Connection

logger = logging.getLogger(__name__)

_BATCH: Final = 1000
_STATEMENT_MS: Final = 60_000
_SEAL: Final = "SELECT sealed, head, head_hash FROM audit_seal(%s)"
_SEAL_MAIN: Final = text("SELECT sealed, head, head_hash FROM audit_seal(:limit)")
# What `audit_record` holds shared until its transaction ends.
_NOBODY_APPENDS: Final = "SELECT pg_try_advisory_xact_lock(7309936)"


def seal_tenant(manager: TenantDatabaseManager, settings: Settings, *, tenant_id: UUID) -> int:
    """Seals what the tenant's trail holds, and says so in the platform's; how many entries.

    Where somebody is still appending, the seal is asked for once more.

    Raises:
        TenantGone: there is no such tenant, or it has no database.
        TenantClosed: it is being moved.
        ServerUnavailable, TenantUnavailable: not just now.
    """
    with held_still(manager, tenant_id, statement_timeout_ms=_STATEMENT_MS) as (
        location,
        connection,
    ):
        complete = _first(connection, _NOBODY_APPENDS)[0]
        count, head, head_hash = seal(connection)
        if not complete:
            with platform_session() as session:
                length = timedelta(seconds=settings.audit_seal_seconds)
                ask_for_seal(session, tenant_id, clock.now(), length)
        if head:
            say(settings, location, head, head_hash.hex())
    return count


@contextmanager
def held_still(
    manager: TenantDatabaseManager, tenant_id: UUID, *, statement_timeout_ms: int = 0
) -> Iterator[tuple[TenantLocation, Connection]]:
    """The tenant's database as its owner, while nobody moves, swaps or drops it.

    Raises:
        TenantGone, TenantClosed, ServerUnavailable, TenantUnavailable: as above.
    """
    location = _location(tenant_id)
    server = manager.server_of(location)
    # A move, a swap or a drop takes this lock too: what is done here is done where the tenant lies.
    with server.locked(location.database):
        _require_at_rest(location)
        with server.connect_as_owner(
            location.database, statement_timeout_ms=statement_timeout_ms
        ) as connection:
            yield location, connection


def seal_platform(storage: Storage, settings: Settings) -> int:
    """Seals what the platform's trail holds, and puts its end into the store; how many entries."""
    count, sealed, head, head_hash = 0, _BATCH, 0, b""
    while sealed == _BATCH:
        with platform_session() as session:
            found = session.execute(_SEAL_MAIN, {"limit": _BATCH}).one()
            sealed, head, head_hash = found.sealed, found.head, found.head_hash
        count += sealed
    signer = Signer.of(settings)
    if signer is not None and head:
        statement = Statement(
            installation=settings.installation_id,
            trail=PLATFORM,
            database=PLATFORM,
            position=head,
            hash=head_hash.hex(),
            sealed_at=clock.now().isoformat(),
        )
        platform_checkpoints.put(storage, signer, statement)
    return count


def _location(tenant_id: UUID) -> TenantLocation:
    with platform_session() as session:
        entries = ledger.with_database(session, tenant_ids=[tenant_id])
    if not entries:
        raise TenantGone("There is no such tenant, or it has no database.")
    return entries[0].location


def _require_at_rest(location: TenantLocation) -> None:
    present = _location(location.tenant_id)
    if (present.server, present.database) != (location.server, location.database):
        raise TenantClosed("The tenant has got another database.")
    with platform_session() as session:
        if any(each.tenant_id == location.tenant_id for each in moving.unfinished(session)):
            raise TenantClosed("The tenant is being moved.")


def seal(connection: Connection) -> tuple[int, int, bytes]:
    """How many entries were sealed, and where the chain ends."""
    count, sealed, head, head_hash = 0, _BATCH, 0, b""
    while sealed == _BATCH:
        sealed, head, head_hash = _first(connection, _SEAL, (_BATCH,))
        count += sealed
    return count, head, head_hash


def _first(connection: Connection, query: str, values: tuple[object, ...] = ()) -> tuple[Any, ...]:
    row = connection.execute(query.encode(), values).fetchone()
    if row is None:
        raise LookupError("the database gave no answer")
    return row


def say(settings: Settings, location: TenantLocation, head: int, head_hash: str) -> None:
    """Makes the checkpoint: once for each end: a job that died in between leaves it to the next."""
    signer = Signer.of(settings)
    if signer is None:
        return
    with platform_session() as session:
        if _said(session, location, head):
            return
        statement = Statement(
            installation=settings.installation_id,
            trail=str(location.tenant_id),
            database=location.database,
            position=head,
            hash=head_hash,
            sealed_at=clock.now().isoformat(),
        )
        checkpoint = signer.sign(statement)
        sealed = TrailSealed(
            tenant_id=location.tenant_id,
            database=statement.database,
            position=statement.position,
            hash=statement.hash,
            sealed_at=statement.sealed_at,
            key=checkpoint.key,
            signature=checkpoint.signature,
        )
        events.record(session, sealed)


def _said(session: MainSession, location: TenantLocation, head: int) -> bool:
    last = queries.last_checkpoint(session, location.tenant_id)
    if last is None:
        return False
    return (last.details["database"], last.details["position"]) == (location.database, head)
