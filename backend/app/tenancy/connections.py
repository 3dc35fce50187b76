"""One engine and one budgeted pool for all tenants.

A connection belongs to one tenant's role and database and cannot be shared, so thousands of
tenants share a budget: when a tenant needs a connection and the budget is spent, an idle one of
the tenant that was used least of late is closed. docs/decisions/0008 says why.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self, cast

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, Pool
from sqlalchemy.pool.base import _CreatorWRecFnType

from app.core import deadlines, liveness, tracing
from app.core.errors import Unavailable
from app.core.readings import PoolFigures
from app.settings import Settings
from app.tenancy.locations import TenantLocation, current_location
from app.tenancy.server import Connection

# A use counts half after this many further checkouts: few enough to follow a change of favour,
# enough to tell a tenant that comes back from one that came once.
_HALF_LIFE: Final = 320
_GROWTH: Final = 2 ** (1 / _HALF_LIFE)
# Weights are scaled down from time to time, and tenants below this share of one use forgotten.
_HEAVIEST: Final = 1e6
_FORGOTTEN: Final = 1e-3


class TenantBusy(Unavailable):
    """No connection for this tenant came free before the deadline."""

    code = "tenant_busy"
    retry_after = 1


class WrongTenant(RuntimeError):
    """A statement was about to run on a connection of another tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Per process: open connections in all and per tenant, seconds to wait, queue per tenant."""

    connections: int = 40
    per_tenant: int = 4
    wait: float = 2.0
    waiters_per_tenant: int = 2

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            connections=settings.tenant_connection_budget,
            per_tenant=settings.tenant_connections_per_tenant,
            wait=settings.tenant_connection_wait,
            waiters_per_tenant=settings.tenant_waiters_per_tenant,
        )


@dataclass(slots=True)
class _Ticket:
    """One request for a connection: granted an idle record, or a slot to open one in."""

    tenant: str
    record: ConnectionPoolEntry | None = None
    victim: ConnectionPoolEntry | None = None
    granted: bool = False
    ready: threading.Event = field(default_factory=threading.Event)


class BudgetPool(Pool):
    """A SQLAlchemy pool whose connections belong to the tenant in the context."""

    def __init__(self, creator: _CreatorWRecFnType, *, budget: Budget, **options: Any) -> None:
        super().__init__(creator, **options)
        self._budget = budget
        self._lock = threading.Lock()
        # The garbage collector may return a connection at any line, also inside the locked section
        # and in the middle of a sum: what is returned waits here until the section has ended.
        self._returned: deque[ConnectionPoolEntry] = deque()
        # Every idle record, least recently used first, and the same by tenant, newest last.
        self._idle: OrderedDict[ConnectionPoolEntry, str] = OrderedDict()
        self._idle_of: dict[str, list[ConnectionPoolEntry]] = {}
        self._open_of: dict[str, int] = {}
        self._open = 0
        self._waiting: deque[_Ticket] = deque()
        # How much each tenant was used, fading; and what the next use weighs.
        self._uses: dict[str, float] = {}
        self._weight = 1.0
        # Tenants whose older connections are not to be kept, while any of them is open.
        self._closed_at: dict[str, float] = {}
        self.counts = {"hits": 0, "opened": 0, "evicted": 0, "refused": 0}

    # The two hooks of sqlalchemy.pool.Pool.

    def _do_get(self) -> ConnectionPoolEntry:
        ticket = _Ticket(current_location().key)
        self._queue(ticket)
        if not ticket.granted:
            ticket.ready.wait(self._budget.wait)
            self._give_up_unless_granted(ticket)
        if ticket.record is not None:
            return ticket.record
        try:
            if ticket.victim is not None:
                self._evict(ticket.victim)
            return self._create_connection()
        except BaseException:
            self._free_slot(ticket.tenant)
            raise

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._returned.append(record)
        self._take_back()

    # Bookkeeping.

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        finally:
            self._take_back()

    def _take_back(self) -> None:
        """Never waits for the lock: whoever holds it comes here after letting it go."""
        while self._returned and self._lock.acquire(blocking=False):
            unwanted = []
            try:
                while self._returned:
                    record = self._returned.popleft()
                    if not self._keep(record):
                        unwanted.append(record)
            finally:
                self._lock.release()
            for record in unwanted:
                self._close(record)

    def _evict(self, record: ConnectionPoolEntry) -> None:
        """Closes a connection whose slot is another tenant's by now."""
        try:
            record.close()  # outside the lock: this talks to a server
        finally:
            with self._locked():
                self._forget(_stamp(record)["tenant"])
                self._grant_waiting()

    def _close(self, record: ConnectionPoolEntry) -> None:
        try:
            record.close()
        finally:
            self._free_slot(_stamp(record)["tenant"])

    def _free_slot(self, tenant: str) -> None:
        with self._locked():
            self._open -= 1
            self._forget(tenant)
            self._grant_waiting()

    def _queue(self, ticket: _Ticket) -> None:
        with self._locked():
            ahead = sum(other.tenant == ticket.tenant for other in self._waiting)
            if not ahead and self._try_grant(ticket):
                return
            # One tenant's flood may not make all others wait behind it.
            if ahead >= self._budget.waiters_per_tenant:
                self.counts["refused"] += 1
                raise TenantBusy("Too many requests of this tenant are waiting.")
            self._waiting.append(ticket)

    def _give_up_unless_granted(self, ticket: _Ticket) -> None:
        with self._locked():
            if not ticket.granted:
                self._waiting.remove(ticket)
                self.counts["refused"] += 1
                raise TenantBusy(f"No database connection came free in {self._budget.wait} s.")

    # The sums; all of it runs with the lock held.

    def _keep(self, record: ConnectionPoolEntry) -> bool:
        """Takes a returned record back as idle, unless it is dead or to be closed."""
        stamp = _stamp(record)
        tenant: str = stamp["tenant"]
        if record.dbapi_connection is None or self._closed_at.get(tenant, 0) > stamp["opened"]:
            return False
        self._idle[record] = tenant
        self._idle_of.setdefault(tenant, []).append(record)
        self._grant_waiting()
        return True

    def _try_grant(self, ticket: _Ticket) -> bool:
        tenant = ticket.tenant
        if idle := self._idle_of.get(tenant):
            ticket.record = idle[-1]
            self._take_from_idle(ticket.record)
            self.counts["hits"] += 1
        elif not self._take_slot(ticket):
            return False
        ticket.granted = True
        self._count_use(tenant)
        return True

    def _count_use(self, tenant: str) -> None:
        """Each use weighs a little more than the one before, which lets the old ones fade."""
        self._weight *= _GROWTH
        self._uses[tenant] = self._uses.get(tenant, 0.0) + self._weight
        if self._weight > _HEAVIEST:
            scaled = ((each, use / self._weight) for each, use in self._uses.items())
            self._uses = {each: use for each, use in scaled if use > _FORGOTTEN}
            self._weight = 1.0

    def _take_slot(self, ticket: _Ticket) -> bool:
        if self._open_of.get(ticket.tenant, 0) >= self._budget.per_tenant:
            return False
        if self._open < self._budget.connections:
            self._open += 1
        elif self._idle:
            # Of equals the first, which lay idle longest.
            ticket.victim = min(self._idle, key=lambda idle: self._uses.get(self._idle[idle], 0.0))
            self._take_from_idle(ticket.victim)
            self.counts["evicted"] += 1
        else:
            return False
        self._open_of[ticket.tenant] = self._open_of.get(ticket.tenant, 0) + 1
        self.counts["opened"] += 1
        return True

    def _take_from_idle(self, record: ConnectionPoolEntry) -> None:
        tenant = self._idle.pop(record)
        idle = self._idle_of[tenant]
        idle.remove(record)
        if not idle:
            del self._idle_of[tenant]

    def _forget(self, tenant: str) -> None:
        """One connection of the tenant less; an evicted one counts as its until it is closed."""
        self._open_of[tenant] -= 1
        if not self._open_of[tenant]:
            del self._open_of[tenant]
            self._closed_at.pop(tenant, None)

    def _grant_waiting(self) -> None:
        """First come, first served, passing over those that cannot be served yet."""
        for ticket in list(self._waiting):
            if self._try_grant(ticket):
                self._waiting.remove(ticket)
                ticket.ready.set()

    # Administration.

    def close_tenant(self, database: str) -> None:
        """Closes the tenant's idle connections now and its busy ones when they come back."""
        with self._locked():
            if database in self._open_of:
                self._closed_at[database] = time.monotonic()
            records = list(self._idle_of.get(database, ()))
            for record in records:
                self._take_from_idle(record)
        for record in records:
            self._close(record)

    def open_connections(self, database: str | None = None) -> int:
        with self._locked():
            return self._open if database is None else self._open_of.get(database, 0)

    def figures(self) -> PoolFigures:
        with self._locked():
            return PoolFigures(
                idle=len(self._idle),
                in_use=self._open - len(self._idle),
                waiting=len(self._waiting),
                events=dict(self.counts),
            )

    def dispose(self) -> None:
        with self._locked():
            tenants = list(self._open_of)
        for tenant in tenants:
            self.close_tenant(tenant)

    def recreate(self) -> "BudgetPool":
        return BudgetPool(
            cast("_CreatorWRecFnType", self._creator),
            budget=self._budget,
            reset_on_return=self._reset_on_return,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )

    def status(self) -> str:
        return f"open {self._open} of {self._budget.connections}, idle {len(self._idle)}"


def create_tenant_engine(connect: Callable[[TenantLocation], Connection], budget: Budget) -> Engine:
    """The engine of the tenant plane; ``connect`` opens a connection with the tenant's role."""

    def create(rec: ConnectionPoolEntry) -> DBAPIConnection:
        location, stamp = current_location(), _stamp(rec)
        if stamp.setdefault("tenant", location.key) != location.key:
            raise WrongTenant("a connection's slot belongs to another tenant")
        connection = connect(location)
        stamp["opened"] = time.monotonic()
        return cast("DBAPIConnection", connection)

    engine = create_engine(
        "postgresql+psycopg://",
        pool=BudgetPool(create, budget=budget),
        # Parameters are a tenant's data: they belong into no log.
        hide_parameters=True,
        # hstore's OID differs between databases, and the dialect would remember the first one's.
        use_native_hstore=False,
    )
    deadlines.watch(engine)
    liveness.watch(engine)
    tracing.watch_engine(engine)
    event.listen(engine, "before_cursor_execute", _compare_tenants)
    event.listen(engine, "handle_error", _lose_one_connection_only)
    return engine


def _stamp(record: ConnectionPoolEntry) -> dict[str, Any]:
    """Whose slot it is. It outlives a reconnect, unlike the record's ``info``."""
    stamp = record.record_info
    if stamp is None:
        raise RuntimeError("a pool's record without its record_info")
    return stamp


def _compare_tenants(
    connection: Any,
    _cursor: Any,
    _statement: Any,
    _parameters: Any,
    _context: Any,
    _many: bool,  # noqa: FBT001  # SQLAlchemy's signature
) -> None:
    """Refuses a statement whose session and connection differ in tenant.

    An invalidated connection opens again in whatever context it finds itself.
    """
    expected = connection.get_execution_options().get("tenant")
    actual = connection.connection.record_info.get("tenant")  # the pool's stamp
    if expected is None or expected != actual:
        raise WrongTenant(f"a statement for {expected} on a connection of {actual}")


def _lose_one_connection_only(context: Any) -> None:
    """One tenant's lost connection says nothing of the others' in the pool."""
    context.invalidate_pool_on_disconnect = False
