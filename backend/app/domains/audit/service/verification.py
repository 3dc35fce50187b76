"""Verifying trails: every row computed anew, and compared with what was signed of it elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import psycopg
from psycopg import IsolationLevel
from sqlalchemy import text

from app.core.db import MainSession, platform_session
from app.core.errors import AppError, NotFound
from app.domains.audit import queries
from app.domains.audit.service import platform_checkpoints
from app.domains.audit.service.chain import row_of, sealed_rows
from app.domains.audit.service.checkpoints import PLATFORM, Verifier, checkpoint_of
from app.domains.audit.service.examination import Expected, examine
from app.domains.audit.service.findings import Finding, Verdict
from app.domains.tenants.service import ledger
from app.domains.tenants.service.ledger import FleetEntry
from app.integrations.storage import Storage
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.server import Connection

Tell = Callable[[int], None]
_BATCH: Final = 2000
_UNSEALED: Final = "SELECT count(*) FROM {} WHERE position IS NULL"
_TENANTS: Final = sealed_rows("audit_entries", with_tenant=False)
_PLATFORMS: Final = sealed_rows("platform_audit_entries", with_tenant=True)


def verify_tenant(
    manager: TenantDatabaseManager,
    verifier: Verifier,
    *,
    tenant_id: UUID,
    tell: Tell = lambda _: None,
) -> Verdict:
    """One tenant's trail; ``tell`` gets how many rows are done.

    Raises:
        NotFound: there is no such tenant, or it has no database.
    """
    with platform_session() as session:
        # First: what is sealed from now on is not missed.
        entries = ledger.with_database(session, tenant_ids=[tenant_id])
        if not entries:
            raise NotFound("There is no such tenant, or it has no database.")
        entry = entries[0]
        expected = _expected(session, manager, entry)
    verdict = Verdict(trail=str(tenant_id))
    try:
        with _reading(manager, entry) as connection:
            with connection.cursor("trail") as cursor:
                cursor.itersize = _BATCH
                rows = map(row_of, cursor.execute(_TENANTS.encode()))
                examine(verdict, rows, expected, verifier, tell)
            found = connection.execute(_UNSEALED.format("audit_entries").encode()).fetchone()
            verdict.unsealed = 0 if found is None else int(found[0])
    except (AppError, psycopg.Error) as error:
        words = str(error).partition("\n")[0]
        verdict.add(Finding("not examined", f"the trail could not be read: {words}"))
    return verdict


def verify_platform(
    storage: Storage, verifier: Verifier, *, installation: str, tell: Tell = lambda _: None
) -> Verdict:
    """The platform's own trail, by the checkpoints in the store."""
    verdict = Verdict(trail=PLATFORM)
    try:
        checkpoints = list(platform_checkpoints.read(storage))
    except (AppError, ValueError) as error:
        verdict.add(Finding("not examined", f"its checkpoints could not be read: {error}"))
        checkpoints = []
    expected = Expected(
        installation=installation, trail=PLATFORM, database=PLATFORM, checkpoints=checkpoints
    )
    with platform_session() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        session.execute(text("SET LOCAL statement_timeout = 0"))
        result = session.execute(text(_PLATFORMS), execution_options={"yield_per": _BATCH})
        examine(verdict, map(row_of, result), expected, verifier, tell)
        unsealed = session.execute(text(_UNSEALED.format("platform_audit_entries")))
        verdict.unsealed = int(unsealed.scalar_one())
    return verdict


@contextmanager
def _reading(manager: TenantDatabaseManager, entry: FleetEntry) -> Iterator[Connection]:
    """The tenant's database as of one moment, as its owner, who reads whatever is there."""
    server = manager.server_of(entry.location)
    with server.connect_as_owner(entry.location.database) as connection:
        connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
        with connection.transaction():
            yield connection


def _expected(session: MainSession, manager: TenantDatabaseManager, entry: FleetEntry) -> Expected:
    installation, tenant_id = manager.installation.id, entry.tenant_id
    swaps = queries.of_type(session, tenant_id, "tenant.database_swapped")
    return Expected(
        installation=installation,
        trail=str(tenant_id),
        database=entry.location.database,
        checkpoints=[
            checkpoint_of(installation, row)
            for row in queries.of_type(session, tenant_id, "audit.sealed")
        ],
        swaps=[(str(row.details["former"]), row.recorded_at) for row in swaps],
    )


def tenants() -> list[UUID]:
    """All that have a trail: whose database is whole."""
    with platform_session() as session:
        return [each.tenant_id for each in ledger.with_database(session)]
