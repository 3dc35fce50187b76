"""The budget of connections: never above it, nobody starves, nobody waits without a deadline."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, text

from app.core.db import record_despite
from app.core.errors import Conflict
from app.tenancy.capacity import HEADROOM
from app.tenancy.connections import TenantBusy
from app.tenancy.locations import NoTenant, TenantLocation, located
from app.tenancy.manager import TenantDatabaseManager
from tests.tenancy.laboratory import PATIENCE_SECONDS, Laboratory, until
from tests.tenancy.pools import MakeManager, backend, check_sums, sessions_of, use


class OpenConnections:
    """Counts, whenever one is opened, how many of a manager's connections are open on our side."""

    def __init__(self, manager: TenantDatabaseManager) -> None:
        self._lock = threading.Lock()
        self._made: list[psycopg.Connection[Any]] = []
        self.most = 0
        self.most_of_one = 0
        event.listen(manager.engine, "connect", self.count)

    def count(self, connection: psycopg.Connection[Any], _record: object) -> None:
        with self._lock:
            self._made = [each for each in self._made if not each.closed] + [connection]
            self.most = max(self.most, len(self._made))
            of_one = Counter(each.info.dbname for each in self._made)
            self.most_of_one = max(self.most_of_one, *of_one.values())


@pytest.mark.parametrize(("budget", "each"), [(1, 1), (3, 1), (5, 2)])
def test_never_more_than_the_budget(
    lab: Laboratory,
    tenants: list[TenantLocation],
    make_manager: MakeManager,
    budget: int,
    each: int,
) -> None:
    threads = 12
    manager = make_manager(budget=budget, each=each, wait=PATIENCE_SECONDS, queue=threads)
    opened = OpenConnections(manager)

    def work(number: int) -> None:
        dice = random.Random(number)
        for _ in range(12):
            use(manager, dice.choice(tenants))

    with ThreadPoolExecutor(threads) as pool:
        working = [pool.submit(work, number) for number in range(threads)]
        while not all(job.done() for job in working):
            assert manager.pool.open_connections() <= budget
            # A server process ends a little after its client has closed.
            assert sessions_of(lab, tenants).total() <= budget + HEADROOM
        for job in working:
            job.result()
    assert opened.most <= budget
    assert opened.most_of_one <= each
    assert manager.pool.counts["refused"] == 0
    left = manager.pool.open_connections()
    assert left <= budget
    until(lambda: sessions_of(lab, tenants).total() == left, "the server's count to be ours")


def test_of_those_used_alike_the_one_that_lay_idle_longest_makes_room(
    lab: Laboratory, tenants: list[TenantLocation], make_manager: MakeManager
) -> None:
    manager = make_manager(budget=3, each=1, wait=PATIENCE_SECONDS)
    first, second, third, newcomer = tenants[:4]
    before = {tenant.database: use(manager, tenant) for tenant in (first, second, third)}
    assert use(manager, first) == before[first.database]
    use(manager, newcomer)
    assert manager.pool.open_connections(second.database) == 0
    assert use(manager, first) == before[first.database]
    assert use(manager, third) == before[third.database]
    assert manager.pool.counts == {"hits": 3, "opened": 4, "evicted": 1, "refused": 0}


def test_a_tenant_that_comes_often_keeps_its_connection(
    tenants: list[TenantLocation], make_manager: MakeManager
) -> None:
    """Although the others, which come once, were there after it."""
    manager = make_manager(budget=2, each=1, wait=PATIENCE_SECONDS)
    often, *once = tenants
    kept = {use(manager, often) for _ in range(3)}
    for visitor in once:
        use(manager, visitor)
    assert {use(manager, often)} == kept
    assert manager.pool.counts["evicted"] == len(once) - 1


def test_favour_fades_and_what_is_forgotten_takes_no_room(
    tenants: list[TenantLocation], make_manager: MakeManager
) -> None:
    manager = make_manager(budget=2, each=1, wait=PATIENCE_SECONDS)
    was, new, other = tenants[:3]
    for _ in range(5):
        use(manager, was)
    for _ in range(8000):  # the counting alone: as many checkouts would take seconds
        manager.pool._count_use(new.database)
    assert list(manager.pool._uses) == [new.database]
    use(manager, new)
    use(manager, other)
    assert manager.pool.open_connections(was.database) == 0
    assert manager.pool.open_connections(new.database) == 1


def test_no_tenant_has_more_than_its_share(
    tenants: list[TenantLocation], make_manager: MakeManager
) -> None:
    manager = make_manager(budget=4, each=2, wait=0.02)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(manager.tenant_db_session(tenants[0])).scalar(text("SELECT 1"))
        with pytest.raises(TenantBusy, match="No database connection came free") as refused:
            use(manager, tenants[0])
        assert refused.value.retry_after is not None
        assert refused.value.status == 503
        use(manager, tenants[1])


def test_a_spent_budget_refuses_after_the_deadline(
    tenants: list[TenantLocation], make_manager: MakeManager
) -> None:
    manager = make_manager(budget=1, each=1, wait=0.02)
    with manager.tenant_db_session(tenants[0]) as session:
        backend(session)
        with pytest.raises(TenantBusy):
            use(manager, tenants[1])
    use(manager, tenants[1])


def test_nested_sessions_of_one_tenant_are_refused_and_do_not_hang(
    tenants: list[TenantLocation], make_manager: MakeManager
) -> None:
    """With one connection each, the inner one would wait for the outer one for ever."""
    manager = make_manager(budget=4, each=1, wait=0.02)
    with manager.tenant_db_session(tenants[0]) as outer:
        backend(outer)
        with pytest.raises(TenantBusy):
            use(manager, tenants[0])
        assert outer.scalar(text("SELECT 1")) == 1


def test_what_is_written_despite_a_refusal_needs_no_second_connection(
    tenants: list[TenantLocation], make_manager: MakeManager
) -> None:
    manager = make_manager(budget=1, each=1, wait=0.02)
    written: list[str] = []

    def write(session: Any) -> None:
        written.append(session.scalar(text("SELECT current_database()")))

    def refuse() -> None:
        with manager.tenant_db_session(tenants[0]) as session:
            backend(session)
            raise record_despite(Conflict("no"), write)

    with pytest.raises(Conflict):
        refuse()
    assert written == [tenants[0].database]


class Crowd:
    """Threads that each hold a session of a tenant until they are let go."""

    def __init__(self, manager: TenantDatabaseManager, pool: ThreadPoolExecutor) -> None:
        self.manager = manager
        self.pool = pool
        self.order: list[str] = []
        self.leave = threading.Event()

    def hold(self, tenant: TenantLocation, name: str = "") -> Any:
        def work() -> None:
            with self.manager.tenant_db_session(tenant) as session:
                backend(session)
                self.order.append(name)
                assert self.leave.wait(PATIENCE_SECONDS)

        return self.pool.submit(work)

    def wait_for_queue(self, length: int) -> None:
        until(lambda: len(self.manager.pool._waiting) == length, f"a queue of {length}")


def test_a_third_in_the_queue_is_refused_at_once(
    tenants: list[TenantLocation], make_manager: MakeManager
) -> None:
    manager = make_manager(each=1, wait=PATIENCE_SECONDS, queue=2)
    with ThreadPoolExecutor(4) as pool:
        crowd = Crowd(manager, pool)
        held = [crowd.hold(tenants[0]) for _ in range(3)]
        crowd.wait_for_queue(2)
        with pytest.raises(TenantBusy, match="Too many requests of this tenant are waiting"):
            use(manager, tenants[0])
        crowd.leave.set()
        for each in held:
            each.result(PATIENCE_SECONDS)


def test_one_tenants_flood_holds_nobody_else_up(
    tenants: list[TenantLocation], make_manager: MakeManager
) -> None:
    """The others are served while the whole flood holds what it has and waits for more."""
    manager = make_manager(budget=3, each=2, wait=PATIENCE_SECONDS, queue=2)
    with ThreadPoolExecutor(12) as pool:
        flood = Crowd(manager, pool)
        jobs = [flood.hold(tenants[0]) for _ in range(10)]
        until(lambda: sum(job.done() for job in jobs) == 6, "six to be refused")
        for tenant in (*tenants[1:], *tenants[1:]):
            use(manager, tenant)
        assert len(flood.order) == 2
        assert len(manager.pool._waiting) == 2
        flood.leave.set()
        refused = [job for job in jobs if isinstance(job.exception(), TenantBusy)]
    assert len(refused) == 6
    assert len(flood.order) == 4


def test_first_come_first_served(tenants: list[TenantLocation], make_manager: MakeManager) -> None:
    manager = make_manager(budget=1, each=1, wait=PATIENCE_SECONDS, queue=2)
    with ThreadPoolExecutor(5) as pool:
        crowd = Crowd(manager, pool)
        with manager.tenant_db_session(tenants[0]) as session:
            backend(session)
            jobs = []
            arrivals = [tenants[0], tenants[1], tenants[2], tenants[1], tenants[0]]
            for number, tenant in enumerate(arrivals):
                jobs.append(crowd.hold(tenant, str(number)))
                crowd.wait_for_queue(number + 1)
            crowd.leave.set()
        for job in jobs:
            job.result(PATIENCE_SECONDS)
    assert crowd.order == list("01234")


def test_one_that_cannot_be_served_yet_is_passed_over(
    tenants: list[TenantLocation], make_manager: MakeManager
) -> None:
    manager = make_manager(budget=2, each=1, wait=PATIENCE_SECONDS, queue=2)
    with ThreadPoolExecutor(4) as pool:
        first, second = Crowd(manager, pool), Crowd(manager, pool)
        jobs = [first.hold(tenants[0], "first")]
        until(lambda: first.order == ["first"], "the first to be served")
        with manager.tenant_db_session(tenants[1]) as session:
            backend(session)
            jobs.append(second.hold(tenants[0], "waits for its own tenant"))
            second.wait_for_queue(1)
            jobs.append(second.hold(tenants[2], "passes"))
            second.wait_for_queue(2)
        until(lambda: second.order == ["passes"], "the other tenant to be served")
        first.leave.set()
        second.leave.set()
        for job in jobs:
            job.result(PATIENCE_SECONDS)
    assert second.order == ["passes", "waits for its own tenant"]


def test_without_a_tenant_there_is_no_connection(make_manager: MakeManager) -> None:
    manager = make_manager(wait=0.02)
    with pytest.raises(NoTenant):
        manager.engine.connect()
    assert manager.pool.open_connections() == 0


def test_a_thread_does_not_inherit_the_tenant(
    tenants: list[TenantLocation], make_manager: MakeManager
) -> None:
    manager = make_manager(wait=0.02)
    with located(tenants[0]), ThreadPoolExecutor(1) as pool:
        assert isinstance(pool.submit(manager.engine.connect).exception(), NoTenant)


def test_closing_a_tenant_spares_the_others_and_waits_for_the_busy(
    lab: Laboratory, tenants: list[TenantLocation], make_manager: MakeManager
) -> None:
    manager = make_manager(budget=4, each=2, wait=0.02)
    neighbour = use(manager, tenants[1])
    with manager.tenant_db_session(tenants[0]) as busy:
        before = backend(busy)
        use(manager, tenants[0])
        assert manager.pool.open_connections(tenants[0].database) == 2
        manager.pool.close_tenant(tenants[0].database)
        assert manager.pool.open_connections(tenants[0].database) == 1
        assert backend(busy) == before
    assert manager.pool.open_connections(tenants[0].database) == 0
    until(lambda: not sessions_of(lab, tenants[:1]), "the server to see them closed")
    assert use(manager, tenants[1]) == neighbour
    assert use(manager, tenants[0]) == use(manager, tenants[0]) != before


def test_the_pools_own_words(tenants: list[TenantLocation], make_manager: MakeManager) -> None:
    manager = make_manager(budget=4, wait=0.02)
    use(manager, tenants[0])
    assert manager.pool.status() == "open 1 of 4, idle 1"
    manager.engine.dispose()
    assert manager.pool.status() == "open 0 of 4, idle 0"
    use(manager, tenants[0])
    check_sums(manager.pool)
