"""What the tests of the pool need: sums that must come out, and a pool without a server."""

import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.pool import ConnectionPoolEntry

from app.tenancy.connections import Budget, BudgetPool
from app.tenancy.locations import TenantLocation, current_location
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.sessions import TenantSession
from tests.tenancy.laboratory import Laboratory


class MakeManager(Protocol):
    """A manager with a budget of connections of the test's choosing."""

    def __call__(
        self, *, budget: int = 4, each: int = 2, wait: float, queue: int = 2
    ) -> TenantDatabaseManager: ...


def backend(session: TenantSession) -> int:
    """The process of the server behind the session: the same for the same connection."""
    pid = session.scalar(text("SELECT pg_backend_pid()"))
    assert isinstance(pid, int)
    return pid


def use(manager: TenantDatabaseManager, tenant: TenantLocation) -> int:
    """One session of the tenant; returns its `backend`."""
    with manager.tenant_db_session(tenant) as session:
        assert session.scalar(text("SELECT current_database()")) == tenant.database
        return backend(session)


def sessions_of(lab: Laboratory, tenants: Sequence[TenantLocation]) -> Counter[str]:
    """The server's own count, by database."""
    with lab.as_superuser() as superuser:
        rows = superuser.execute(
            "SELECT datname FROM pg_stat_activity WHERE usename = ANY(%s)",
            ([tenant.role for tenant in tenants],),
        ).fetchall()
    return Counter(name for (name,) in rows)


def end_sessions_of(lab: Laboratory, tenant: TenantLocation) -> None:
    """As an administrator, or a crash, ends them; waits until they are gone."""
    with lab.as_superuser() as superuser:
        superuser.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = %s",
            (tenant.role,),
        )


def place(name: str) -> TenantLocation:
    """A tenant that lies nowhere, for a pool without a server."""
    return TenantLocation(
        tenant_id=UUID(int=0), server="none", database=name, sealed_credentials=""
    )


def pool_without_server(budget: Budget) -> BudgetPool:
    """A pool whose connections are SQLite's, in memory: cheap, and closed like real ones."""

    def create(rec: ConnectionPoolEntry) -> sqlite3.Connection:
        assert rec.record_info is not None
        tenant = current_location().database
        assert rec.record_info.setdefault("tenant", tenant) == tenant
        rec.record_info["opened"] = time.monotonic()
        return sqlite3.connect(":memory:", check_same_thread=False)

    return BudgetPool(create, budget=budget)  # type: ignore[arg-type]  # a DBAPI connection


def check_sums(pool: BudgetPool) -> None:
    """The books balance, and nobody waits."""
    idle = Counter(pool._idle.values())
    assert idle == {tenant: len(records) for tenant, records in pool._idle_of.items()}
    assert {id(record) for record in pool._idle} == {
        id(record) for records in pool._idle_of.values() for record in records
    }
    assert pool._open == sum(pool._open_of.values())
    assert all(idle[tenant] <= open_ for tenant, open_ in pool._open_of.items())
    assert pool._open <= pool._budget.connections
    assert max(pool._open_of.values(), default=0) <= pool._budget.per_tenant
    assert not pool._waiting
    assert set(pool._closed_at) <= set(pool._open_of)


def check_at_rest(pool: BudgetPool) -> None:
    """As `check_sums`, and every open connection lies idle."""
    check_sums(pool)
    assert len(pool._idle) == pool._open
