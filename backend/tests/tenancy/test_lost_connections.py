"""Connections that die, stray or fail: one tenant's loss, and nobody is handed another's."""

import gc
import os
import random
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import psycopg
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError
from sqlalchemy.pool import NullPool

from app.core import ids
from app.core.db import main_session
from app.core.errors import Unavailable
from app.core.questions import Question
from app.tenancy import connections
from app.tenancy.connections import TenantBusy, WrongTenant
from app.tenancy.locations import NoTenant, TenantLocation, located
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.sessions import TenantSession
from embedded.ports import free_port
from embedded.postgres import PostgresServer
from tests.tenancy.laboratory import PATIENCE_SECONDS, Laboratory, laboratory, until
from tests.tenancy.pools import MakeManager, backend, end_sessions_of, sessions_of, use
from tests.tenancy.processes import Understudy


@pytest.fixture(scope="module")
def acme(tenants: list[TenantLocation]) -> TenantLocation:
    return tenants[0]


@pytest.fixture(scope="module")
def globex(tenants: list[TenantLocation]) -> TenantLocation:
    return tenants[1]


@pytest.fixture
def manager(make_manager: MakeManager) -> TenantDatabaseManager:
    return make_manager(budget=4, each=2, wait=0.05)


# A connection or a session in another tenant's context.


def test_an_invalidated_connection_does_not_open_again_as_another_tenant(
    manager: TenantDatabaseManager, acme: TenantLocation, globex: TenantLocation
) -> None:
    with located(acme):
        connection = manager.engine.connect().execution_options(tenant=acme.database)
        connection.execute(text("SELECT 1"))
        connection.rollback()
        connection.invalidate()
    with located(globex), pytest.raises(WrongTenant):
        connection.execute(text("SELECT 1"))
    connection.close()


def test_it_does_open_again_as_its_own(
    manager: TenantDatabaseManager, acme: TenantLocation
) -> None:
    with located(acme), manager.engine.connect() as connection:
        connection.execution_options(tenant=acme.database)
        connection.execute(text("SELECT 1"))
        connection.rollback()
        connection.invalidate()
        assert connection.scalar(text("SELECT current_database()")) == acme.database


def test_a_session_carried_into_another_context_stays_with_its_tenant(
    manager: TenantDatabaseManager, acme: TenantLocation, globex: TenantLocation
) -> None:
    with located(acme):
        session = TenantSession(manager.engine, acme)
        assert session.scalar(text("SELECT current_database()")) == acme.database
    with located(globex):
        assert session.scalar(text("SELECT current_database()")) == acme.database
        session.commit()
        with pytest.raises(WrongTenant):
            session.scalar(text("SELECT current_database()"))
        session.rollback()
    with located(acme):
        assert session.scalar(text("SELECT current_database()")) == acme.database
        session.close()


def test_reads_carried_into_another_context_reach_no_tenant(
    manager: TenantDatabaseManager, acme: TenantLocation, globex: TenantLocation
) -> None:
    where = text("SELECT current_database()")
    with manager.tenant_reads(acme) as session:
        assert session.scalar(where) == acme.database
        session.close()
        with located(globex), pytest.raises(WrongTenant):
            session.scalar(where)
        session.close()
    with pytest.raises(NoTenant):
        session.scalar(where)


def test_questions_reach_their_own_tenant_in_any_context(
    manager: TenantDatabaseManager, acme: TenantLocation, globex: TenantLocation
) -> None:
    where, rows = Question(b"SELECT current_database()"), manager.tenant_rows(acme)
    with located(globex):
        assert rows.ask(where, {}) == [(acme.database,)]
        with pytest.raises(WrongTenant):  # as if the pool had lent another tenant's connection
            where.ask(manager.engine, {}, tenant=acme.key)
    assert rows.ask(where, {}) == [(acme.database,)]
    with pytest.raises(NoTenant):
        where.ask(manager.engine, {}, tenant=acme.key)


def test_who_read_a_tenants_data_leaves_a_connection_for_transactions(
    manager: TenantDatabaseManager, acme: TenantLocation
) -> None:
    with manager.tenant_reads(acme) as reads:
        reads.scalar(text("SELECT 1"))
    with suppress(ZeroDivisionError), manager.tenant_db_session(acme) as session:
        session.execute(text("SELECT set_config('app.note', 'rolled back', false)"))
        raise ZeroDivisionError
    with manager.tenant_db_session(acme) as session:
        assert not session.scalar(text("SELECT current_setting('app.note', true)"))
    assert manager.pool.counts["opened"] == 1


def test_a_slot_is_never_filled_for_another_tenant(
    lab: Laboratory, manager: TenantDatabaseManager, acme: TenantLocation, globex: TenantLocation
) -> None:
    """A dead connection that is replaced at checkout is replaced by one of the same tenant."""
    use(manager, acme)
    record = next(iter(manager.pool._idle))
    record.invalidate()
    with located(globex), pytest.raises(WrongTenant):
        record.get_connection()  # type: ignore[attr-defined]  # SQLAlchemy's own record
    assert use(manager, acme)


def test_a_statement_that_names_no_tenant_is_refused(
    manager: TenantDatabaseManager, acme: TenantLocation
) -> None:
    with located(acme), manager.engine.connect() as connection:
        with pytest.raises(WrongTenant):
            connection.execute(text("SELECT 1"))
        with pytest.raises(WrongTenant):
            connection.exec_driver_sql("SELECT 1")
        connection.execution_options(tenant="tenant_of_nobody")
        with pytest.raises(WrongTenant):
            connection.execute(text("SELECT 1"))


# Connections that the server ends.


def session_in_which(
    manager: TenantDatabaseManager, tenant: TenantLocation, happening: Callable[[], None]
) -> int:
    with manager.tenant_db_session(tenant) as session:
        backend(session)
        happening()
        return backend(session)


def test_idle_connections_that_died_are_replaced_without_an_error(
    lab: Laboratory, manager: TenantDatabaseManager, acme: TenantLocation, globex: TenantLocation
) -> None:
    dead, alive = use(manager, acme), use(manager, globex)
    end_sessions_of(lab, acme)
    assert use(manager, acme) != dead
    assert use(manager, globex) == alive


def test_a_busy_connection_that_dies_is_one_sessions_loss(
    lab: Laboratory, manager: TenantDatabaseManager, acme: TenantLocation, globex: TenantLocation
) -> None:
    neighbour = use(manager, globex)
    with pytest.raises(OperationalError):
        session_in_which(manager, acme, lambda: end_sessions_of(lab, acme))
    assert use(manager, acme)
    assert use(manager, globex) == neighbour


def test_without_our_listener_one_loss_would_be_everybodys(
    lab: Laboratory, manager: TenantDatabaseManager, acme: TenantLocation, globex: TenantLocation
) -> None:
    """The negative control of the one above."""
    event.remove(manager.engine, "handle_error", connections._lose_one_connection_only)
    neighbour = use(manager, globex)
    with pytest.raises(OperationalError):
        session_in_which(manager, acme, lambda: end_sessions_of(lab, acme))
    assert use(manager, globex) != neighbour


def test_a_connection_that_died_in_silence_is_found_by_the_ping(
    manager: TenantDatabaseManager, acme: TenantLocation
) -> None:
    """A firewall dropped it: there is nothing to read, so only its idle time speaks."""
    alive = use(manager, acme)
    record = next(iter(manager.pool._idle))
    record.info["idle_since"] = -1e9
    assert use(manager, acme) == alive
    record.info["idle_since"] = -1e9
    ours, theirs = socket.socketpair()
    os.dup2(ours.fileno(), cast("psycopg.Connection", record.dbapi_connection).fileno())
    ours.close()

    def hang_up_when_spoken_to() -> bytes:
        with theirs:
            theirs.settimeout(PATIENCE_SECONDS)
            return theirs.recv(1000)

    with ThreadPoolExecutor(1) as pool:
        ping = pool.submit(hang_up_when_spoken_to)
        assert use(manager, acme) != alive
        assert ping.result(PATIENCE_SECONDS)


def test_the_server_is_started_again(server_urls: dict[str, str], tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "postgres", durable=False, port=free_port())
    with server:
        urls = server_urls | {"postgres": server.admin_url}
        with laboratory(urls, tmp_path / "files", tenant_connection_wait=0.5) as lab:
            tenants = [lab.new_database(), lab.new_database()]
            before = [use(lab.manager, tenant) for tenant in tenants]
            with pytest.raises(OperationalError):
                session_in_which(lab.manager, tenants[0], server.stop)
            with pytest.raises((OperationalError, Unavailable)):
                use(lab.manager, tenants[0])
            with pytest.raises(Unavailable):
                lab.new_database()
            server.start()
            after = [use(lab.manager, tenant) for tenant in tenants]
            assert not set(before) & set(after)
            with lab.app.app_context(), main_session() as session:
                assert session.scalar(text("SELECT 1")) == 1
            lab.manager.pool.dispose()


# Connections that cannot be opened.


def test_a_connection_that_fails_gives_its_slot_back(
    make_manager: MakeManager, acme: TenantLocation
) -> None:
    manager = make_manager(budget=1, each=1, wait=0.05)
    use(manager, acme)
    nowhere = replace(acme, database=f"tenant_{ids.new_id().hex}")
    for _ in range(3):
        with pytest.raises((DBAPIError, Unavailable)):
            use(manager, nowhere)
        assert manager.pool.open_connections() == 0
    use(manager, acme)


def test_a_tenant_whose_role_is_gone_is_unavailable_and_no_error_of_ours(
    manager: TenantDatabaseManager, acme: TenantLocation
) -> None:
    nowhere = replace(acme, database=f"tenant_{ids.new_id().hex}")
    with pytest.raises(Unavailable):
        use(manager, nowhere)


def test_an_evicted_connection_that_does_not_close_well_gives_its_slot_on(
    lab: Laboratory, make_manager: MakeManager, acme: TenantLocation, globex: TenantLocation
) -> None:
    manager = make_manager(budget=1, each=1, wait=0.05)
    use(manager, acme)
    end_sessions_of(lab, acme)
    use(manager, globex)
    assert manager.pool.open_connections(acme.database) == 0


# What is left behind.


def test_an_abandoned_session_comes_back_by_garbage_collection(
    make_manager: MakeManager, acme: TenantLocation
) -> None:
    manager = make_manager(budget=1, each=1, wait=0.05)

    def abandon() -> int:
        session = TenantSession(manager.engine, acme)
        return backend(session)

    with located(acme):
        lost = abandon()
        gc.collect()
        assert use(manager, acme) == lost


def test_what_one_session_sets_the_next_one_does_not_find(
    make_manager: MakeManager, acme: TenantLocation
) -> None:
    """SET LOCAL ends with the transaction; it is all that our own code uses."""
    manager = make_manager(budget=1, each=1, wait=0.05)
    with manager.tenant_db_session(acme) as session:
        session.execute(text("SET LOCAL statement_timeout = 1234"))
    with manager.tenant_db_session(acme) as session:
        assert session.scalar(text("SHOW statement_timeout")) != "1234ms"


def test_types_of_extensions_are_the_same_for_every_tenant(
    lab: Laboratory, manager: TenantDatabaseManager
) -> None:
    """Hstore has another OID in each database; a dialect that remembers the first misreads them."""
    with_hstore = [lab.new_database(f"hstore-{number}") for number in range(2)]
    for number, tenant in enumerate(with_hstore):
        with lab.as_superuser(tenant.database) as superuser:
            for other in range(number * 3):
                superuser.execute(f"CREATE TYPE public.other_{other} AS ENUM ('x')".encode())
            superuser.execute("""CREATE TYPE public.hstore AS ENUM ('"a"=>"1"')""")
    read = text("""SELECT '"a"=>"1"'::public.hstore""")
    oids = set()
    for tenant in (*with_hstore, *with_hstore):
        with manager.tenant_db_session(tenant) as session:
            assert session.scalar(read) == '"a"=>"1"'
            oids.add(session.scalar(text("SELECT 'public.hstore'::regtype::oid::int")))
    assert len(oids) == 2
    careless = create_engine(
        "postgresql+psycopg://",
        poolclass=NullPool,
        creator=lambda: lab.as_tenant(with_hstore[0]),
    )
    with careless.connect() as connection:
        assert connection.scalar(read) == {"a": "1"}, "the negative control"


def test_a_forked_child_leaves_the_parents_connections_alone(
    lab: Laboratory, other_process: Understudy
) -> None:
    with lab.app.app_context():
        database = lab.new_house("forked").database
    pids = other_process.do("fork", database=database)
    assert "error" not in pids["child"]
    assert pids["child"] != pids["parent"] == pids["again"]


# All of it at once.


@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_storm_of_errors_the_books_balance(
    lab: Laboratory, tenants: list[TenantLocation], make_manager: MakeManager, seed: int
) -> None:
    manager = make_manager(budget=4, each=2, wait=0.05)
    nowhere = replace(tenants[0], database=f"tenant_{ids.new_id().hex}")
    storm = Storm(lab, manager, tenants[:4], nowhere)
    threads = [
        threading.Thread(target=storm.blow, args=(random.Random(f"{seed}/{number}"),))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    assert storm.surprises == []
    gc.collect()
    open_ = manager.pool.open_connections()
    for tenant in tenants[:4]:
        use(manager, tenant)
    until(
        lambda: sessions_of(lab, tenants).total() == manager.pool.open_connections(),
        f"the server's count to be ours ({open_})",
    )


class Stranger(Exception):
    """Something that went wrong in somebody's block."""


class Storm:
    """Sessions that end in every bad way; only the errors that belong to it may come of it."""

    EXPECTED = (TenantBusy, Unavailable, DBAPIError, PendingRollbackError, Stranger)

    def __init__(
        self,
        lab: Laboratory,
        manager: TenantDatabaseManager,
        tenants: list[TenantLocation],
        nowhere: TenantLocation,
    ) -> None:
        self.lab = lab
        self.manager = manager
        self.tenants = tenants
        self.nowhere = nowhere
        self.surprises: list[BaseException] = []

    def blow(self, dice: random.Random) -> None:
        for _ in range(25):
            try:
                with suppress(*self.EXPECTED):
                    self.step(dice, dice.choice(self.tenants))
            except BaseException as error:  # noqa: BLE001  # told of in the main thread
                self.surprises.append(error)

    def step(self, dice: random.Random, tenant: TenantLocation) -> None:
        match dice.randrange(8):
            case 0:
                with self.manager.tenant_db_session(tenant) as session:
                    session.execute(text("SELECT 1 / 0"))
            case 1:
                with self.manager.tenant_db_session(tenant) as session:
                    backend(session)
                    raise Stranger
            case 2:
                with self.manager.tenant_db_session(tenant) as session:
                    backend(session)
                    session.invalidate()
            case 3:
                with self.manager.tenant_db_session(tenant) as session:
                    session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            case 4:
                self.manager.pool.close_tenant(tenant.database)
            case 5:
                use(self.manager, self.nowhere)
            case 6:
                with located(tenant):
                    backend(TenantSession(self.manager.engine, tenant))  # and never closed
            case _:
                use(self.manager, tenant)
