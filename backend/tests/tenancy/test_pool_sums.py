"""The pool's books balance whatever happens, and whenever: no slot is lost, none is counted twice.

Without a server: only the sums are at stake, so there can be thousands of cases.
"""

import gc
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import PoolProxiedConnection

from app.tenancy import connections
from app.tenancy.connections import Budget, BudgetPool, TenantBusy, _Ticket
from app.tenancy.locations import TenantLocation, located
from tests.tenancy.laboratory import PATIENCE_SECONDS, until
from tests.tenancy.pools import check_at_rest, check_sums, place, pool_without_server

A, B, C = (place(name) for name in "abc")


@contextmanager
def no_collection() -> Iterator[None]:
    """Garbage is collected when the test says so, and only what is made from here on."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def abandon(connection: PoolProxiedConnection) -> None:
    """Makes garbage of the connection that only the collector finds."""
    cycle: list[Any] = [connection]
    cycle.append(cycle)


@contextmanager
def collecting_at_line(number: int) -> Iterator[Callable[[], bool]]:
    """Collects garbage before the n-th line that the pool runs; tells whether it came to that."""
    passed = 0

    def at_line(_frame: FrameType, happening: str, _argument: object) -> Any:
        nonlocal passed
        if happening == "line":
            passed += 1
            if passed == number:
                gc.collect()
        return at_line

    def at_call(frame: FrameType, _happening: str, _argument: object) -> Any:
        return at_line if frame.f_code.co_filename == connections.__file__ else None

    before = sys.gettrace()
    sys.settrace(at_call)
    try:
        yield lambda: passed >= number
    finally:
        sys.settrace(before)
        gc.collect()


def test_garbage_may_be_collected_at_any_line_of_the_pool() -> None:
    """A connection that nobody returned comes back inside the locked section, mid-sum.

    Each run: one connection of A is garbage, one of B lies idle, C takes its place and closes
    while a request of A waits.
    """
    number = 1
    with no_collection():
        while one_evening(number):
            number += 1
    assert number > 50


def one_evening(number: int) -> bool:
    """True where the pool ran as many lines."""
    pool = pool_without_server(Budget(connections=2, per_tenant=2))
    waiting = _Ticket("a")
    with located(A):
        abandon(pool.connect())
    with located(B):
        pool.connect().close()
    with collecting_at_line(number) as reached, located(C):
        connection = pool.connect()
        pool._waiting.append(waiting)
        connection.close()
        pool.close_tenant("c")
    assert waiting.granted, f"collected at line {number}"
    if waiting.record is not None:
        assert waiting.victim is None
        pool._do_return_conn(waiting.record)
    else:
        if waiting.victim is not None:
            pool._evict(waiting.victim)
        pool._free_slot("a")
    check_at_rest(pool)
    pool.dispose()
    assert pool.open_connections() == 0
    return reached()


def test_an_evicted_connection_counts_as_its_tenants_until_it_is_closed() -> None:
    """Else a tenant would have one more than its share, and its role more than its limit."""
    pool = pool_without_server(Budget(connections=2, per_tenant=1, wait=PATIENCE_SECONDS))
    for tenant in (A, B):
        connect_as(pool, tenant).close()
    with ThreadPoolExecutor(1) as threads:
        again: list[Future[PoolProxiedConnection]] = []

        def while_it_is_open(_connection: object, _record: object) -> None:
            if not again:
                again.append(threads.submit(connect_as, pool, A))
                until(lambda: len(pool._waiting) == 1, "the tenant to wait")

        event.listen(pool, "close", while_it_is_open)
        newcomer = connect_as(pool, C)
        again[0].result(PATIENCE_SECONDS).close()
        newcomer.close()
    check_at_rest(pool)
    pool.dispose()


def connect_as(pool: BudgetPool, tenant: TenantLocation) -> PoolProxiedConnection:
    with located(tenant):
        return pool.connect()


class Stranger(Exception):
    """Something that went wrong in somebody's block."""


def one_step(pool: BudgetPool, dice: random.Random) -> None:
    with located(dice.choice((A, B, C))), suppress(TenantBusy, Stranger):
        connection = pool.connect()
        match dice.randrange(6):
            case 0:
                connection.invalidate()
            case 1:
                connection.detach()
                connection.close()
            case 2:
                abandon(connection)
            case 3:
                pool.close_tenant(dice.choice("abc"))
                connection.close()
            case 4:
                with suppress(TenantBusy):
                    pool.connect().close()  # a second one of the same tenant
                connection.close()
            case _:
                connection.close()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("connections_", "per_tenant"), [(1, 1), (3, 1), (4, 3)])
def test_a_storm_of_mishaps_loses_no_slot(seed: int, connections_: int, per_tenant: int) -> None:
    pool = pool_without_server(
        Budget(connections=connections_, per_tenant=per_tenant, wait=0.002, waiters_per_tenant=2)
    )

    def blow(number: int) -> None:
        dice = random.Random(f"{seed}/{number}")
        for _ in range(150):
            one_step(pool, dice)

    threads = [threading.Thread(target=blow, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    gc.collect()
    check_at_rest(pool)
    pool.dispose()
    check_sums(pool)
    assert pool.open_connections() == 0
