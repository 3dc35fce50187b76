"""Ways to reach tenants' databases: the product's, and its peers. Each answers requests."""

import hashlib
import random
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool, QueuePool

from app.core.errors import NotFound
from app.tenancy.credentials import Credentials
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.server import Server
from houses import House, read
from stage import Stage

_POINTS_PER_POOL: Final = 128


class Contender(Protocol):
    """Several threads call ``answer``; after ``close`` no connection is open."""

    def answer(self, house: House) -> None: ...

    def close(self) -> None: ...


class NoRegistry:
    """Requests bring their locations with them."""

    def sealed_servers(self) -> dict[str, str]:
        return {}

    def locate(self, database: str) -> TenantLocation:
        raise NotFound(database)

    def why_read_only(self, tenant_id: UUID) -> None:
        """Nobody makes a tenant read-only here."""


class Budgeted:
    """The product: `TenantDatabaseManager.tenant_db_session`."""

    def __init__(self, stage: Stage, *, budget: int) -> None:
        settings = stage.settings.model_copy(update={"tenant_connection_budget": budget})
        self.budget = budget
        self.manager = TenantDatabaseManager(settings, registry=NoRegistry(), secrets=stage.secrets)
        self.most_open = count_open(self.manager.engine)

    def answer(self, house: House) -> None:
        with self.manager.tenant_db_session(house.location) as session:
            read(session)

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.manager.pool.counts)

    def close(self) -> None:
        self.manager.engine.dispose()


def count_open(engine: Engine) -> Callable[[], int]:
    """Counts what the driver opens and closes; the answer is the most there were at a time."""
    lock = threading.Lock()
    now = most = 0

    def opened(*_: Any) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)

    def closed(*_: Any) -> None:
        nonlocal now
        with lock:
            now -= 1

    event.listen(engine, "connect", opened)
    event.listen(engine, "close", closed)
    return lambda: most


class Spread:
    """Several of the product's pools, one for each process of a deployment.

    With ``affinity`` a tenant's requests go to the same pool (consistent hashing), without it to
    any.
    """

    def __init__(self, stage: Stage, *, pools: int, budget: int, affinity: bool) -> None:
        self._pools = [Budgeted(stage, budget=budget) for _ in range(pools)]
        self._affinity = affinity
        self._ring = sorted(
            (_point(f"{pool}/{copy}"), pool)
            for pool in range(pools)
            for copy in range(_POINTS_PER_POOL)
        )
        self._points = [point for point, _ in self._ring]

    def answer(self, house: House) -> None:
        self._pool_for(house).answer(house)

    def _pool_for(self, house: House) -> Budgeted:
        if not self._affinity:
            return random.choice(self._pools)
        after = bisect_right(self._points, _point(house.location.database)) % len(self._ring)
        return self._pools[self._ring[after][1]]

    @property
    def counts(self) -> Counter[str]:
        return sum((pool.counts for pool in self._pools), Counter[str]())

    def close(self) -> None:
        for pool in self._pools:
            pool.close()


def _point(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


class PerRequest:
    """One engine for all, and a connection for each request."""

    def __init__(self, server: Server, login: Callable[[Credentials], Credentials]) -> None:
        self._server = server
        self._login = login
        self._now = threading.local()
        self._engine = create_engine(
            "postgresql+psycopg://",
            poolclass=NullPool,
            creator=self._connect,
            use_native_hstore=False,
        )

    def answer(self, house: House) -> None:
        self._now.house = house
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            read(session)

    def _connect(self) -> Any:
        house: House = self._now.house
        return self._server.connect_as_tenant(house.location, self._login(house.credentials))

    def close(self) -> None:
        self._engine.dispose()


class PasswordOnly(Credentials):
    """A login without the stored SCRAM keys: libpq derives them at each connection."""

    __slots__ = ()

    def connect_arguments(self) -> dict[str, str]:
        return {"password": self.password}


def with_keys(credentials: Credentials) -> Credentials:
    return credentials


def with_password(credentials: Credentials) -> Credentials:
    return PasswordOnly(
        password=credentials.password,
        salt=credentials.salt,
        client_key=credentials.client_key,
        server_key=credentials.server_key,
    )


class EnginePerTenant:
    """An engine with a small pool for each tenant, kept for good: the usual first design."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()

    def answer(self, house: House) -> None:
        engine = self._engine_of(house)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            read(session)

    def _engine_of(self, house: House) -> Engine:
        with self._lock:
            engine = self._engines.get(house.location.database)
            if engine is None:
                engine = self._engines[house.location.database] = self._make(house)
            return engine

    def _make(self, house: House) -> Engine:
        def connect() -> Any:
            return self._server.connect_as_tenant(house.location, house.credentials)

        return create_engine(
            "postgresql+psycopg://",
            poolclass=QueuePool,
            pool_size=2,
            max_overflow=2,
            pool_timeout=2,
            creator=connect,
            use_native_hstore=False,
        )

    def close(self) -> None:
        for engine in self._engines.values():
            engine.dispose()
