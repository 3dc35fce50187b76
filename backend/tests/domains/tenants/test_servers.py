"""Two PostgreSQL servers: placing and moving tenants, and what one that is away takes along."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core import ids
from app.core.db import main_session, platform_session
from app.core.errors import AppError
from app.domains.audit.service import sealing, verification
from app.domains.audit.service.checkpoints import Verifier
from app.domains.backups.service import restoring, taking
from app.domains.fleet.models import RunStatus
from app.domains.fleet.service import auditing, inspecting, running
from app.domains.fleet.service.planning import Order
from app.domains.tenants.errors import (
    CannotMove,
    MoveFailed,
    NoServerFree,
    NoSuchRegion,
    ServerInUse,
)
from app.domains.tenants.models import ServerState
from app.domains.tenants.service import (
    deletion,
    kept,
    lifecycle,
    moving,
    pool,
    reconciliation,
    servers,
    transitions,
)
from app.domains.tenants.service.directory import TenantRegistry
from app.integrations.storage import current_storage
from app.settings import InvalidSettings
from app.tenancy import templates
from app.tenancy.bootstrap import ForeignDatabases, prepare_further_server
from app.tenancy.inspection import take_inventory
from app.tenancy.locations import TenantLocation
from app.tenancy.server import AlreadyClaimed
from app.tenancy.startup import check_process
from embedded.postgres import PostgresServer
from embedded.real import SERVICES
from tests.cast import Person, new_person
from tests.core.answers import refusal
from tests.domains.backups.conftest import new_key, tools_of
from tests.domains.documents.files import upload
from tests.domains.fleet.trees import HEAD, column, grow, released
from tests.domains.tenants.ledger import serves, trail
from tests.tenancy.laboratory import PATIENCE_SECONDS, Laboratory, laboratory, until
from tests.tenancy.processes import understudy

SECOND = "second"
ROWS = 300


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Another server, of the same PostgreSQL as the run's."""
    real = SERVICES["postgres"].program() if os.environ.get("TEST_POSTGRES_URL") else None
    with PostgresServer(
        tmp_path_factory.mktemp("second"), bin_dir=real, durable=False, max_connections=100
    ) as server:
        yield server


@pytest.fixture(scope="module")
def lab(
    server_urls: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    second: PostgresServer,
) -> Iterator[Laboratory]:
    folder = tmp_path_factory.mktemp("lab")
    changes = {
        "connect_timeout": 2,
        "backup_keys": new_key(),
        "postgres_tools": tools_of(server_urls["postgres"]),
    }
    with laboratory(server_urls, folder, **changes) as made, made.app.app_context():
        url = prepare_further_server(
            second.admin_url, made.installation, foreign_databases=ForeignDatabases.REFUSE
        )
        templates.ensure(made.manager.servers.at(url))
        with platform_session() as session:
            servers.add(
                session,
                made.app.extensions["secrets"],
                name=SECOND,
                provisioner_url=url,
                region="north",
                capacity=2,
            )
        yield made


@pytest.fixture(scope="module")
def alice(lab: Laboratory) -> Person:
    return new_person(lab.app, "Alice")


@pytest.fixture(autouse=True)
def _nothing_is_left(lab: Laboratory) -> Iterator[None]:
    change(SECOND, capacity=2)
    yield
    assert reconciliation.find_faults(lab.manager) == []


@pytest.fixture
def tenant(lab: Laboratory, alice: Person) -> TenantLocation:
    """On the default server, with some rows."""
    with elsewhere_is_full():
        made = create(lab, alice)
    with lab.manager.tenant_db_session(made) as session:
        session.execute(text(_INSERT), [{"id": ids.new_id()} for _ in range(ROWS)])
    return made


_INSERT = (
    "INSERT INTO files (id, key, state, size, charged_bytes, holds_place, created_at, updated_at)"
    " VALUES (:id, CAST(:id AS text), 'pending', 1, 0, false, now(), now())"
)


def create(lab: Laboratory, owner: Person, **more: Any) -> TenantLocation:
    slug = f"t-{ids.new_id().hex[-12:]}"
    tenant_id = lifecycle.register(lab.manager, name="A", slug=slug, owner_id=owner.user_id, **more)
    lifecycle.provision(lab.manager, tenant_id=tenant_id)
    return where(tenant_id)


def where(tenant_id: Any) -> TenantLocation:
    return TenantRegistry().locate_tenant(tenant_id)


def change(name: str, **changes: Any) -> None:
    with platform_session() as session:
        servers.change(session, name=name, default_url="postgresql://h/d", **changes)


@contextmanager
def elsewhere_is_full() -> Iterator[None]:
    change(SECOND, capacity=0)
    yield
    change(SECOND, capacity=100)


def rows_in(lab: Laboratory, tenant: TenantLocation) -> set[Any]:
    with lab.manager.tenant_reads(tenant) as session:
        return set(session.scalars(text("SELECT id FROM files")))


def test_a_tenant_is_restored_where_it_lies(lab: Laboratory, alice: Person) -> None:
    store, settings = current_storage(), lab.settings
    there = create(lab, alice, region="north")
    assert there.server == SECOND
    with lab.manager.tenant_db_session(there) as session:
        session.execute(text(_INSERT), {"id": ids.new_id()})
    wanted = rows_in(lab, there)
    backup_id = taking.take(lab.manager, store, settings, tenant_id=there.tenant_id)
    assert restoring.prove(lab.manager, store, settings, tenant_id=there.tenant_id) == backup_id
    with lab.manager.tenant_db_session(there) as session:
        session.execute(text("DELETE FROM files"))
    restored = restoring.restore(
        lab.manager, store, settings, tenant_id=there.tenant_id, backup_id=backup_id
    )
    present = kept.swap(
        lab.manager, tenant_id=there.tenant_id, kept_id=restored.kept_id, grace=timedelta(days=1)
    )
    assert (present.server, present.database) == (SECOND, restored.database)
    assert rows_in(lab, present) == wanted
    deletion.purge(lab.manager, store, tenant_id=there.tenant_id)


# Placement.


def test_a_tenant_goes_where_there_is_room(lab: Laboratory, alice: Person) -> None:
    here = [create(lab, alice).server for _ in range(3)]
    assert here == [SECOND, SECOND, "default"]
    with main_session() as session:
        assert servers.place(session) == "default"
        with pytest.raises(NoServerFree):
            servers.place(session, region="north")
        with pytest.raises(NoSuchRegion):
            servers.place(session, region="south")
    with platform_session() as session, pytest.raises(ServerInUse):
        servers.remove(session, name=SECOND)


def test_nobody_new_goes_to_a_server_that_drains(lab: Laboratory, alice: Person) -> None:
    change(SECOND, state=ServerState.DRAINING, capacity=100)
    try:
        assert create(lab, alice).server == "default"
    finally:
        change(SECOND, state=ServerState.ACTIVE)
    assert create(lab, alice).server == SECOND


def test_over_http(lab: Laboratory, alice: Person) -> None:
    def ask(region: Any) -> Any:
        slug = f"t-{ids.new_id().hex[-12:]}"
        body = {"name": "A", "slug": slug, "region": region}
        return alice.post("/api/tenants", json=body)

    change(SECOND, capacity=100)
    made = ask("north")
    assert made.status_code == 201
    assert where(made.get_json()["id"]).server == SECOND
    refusal(ask("south"), 422, "no_such_region")
    change(SECOND, capacity=0)
    refused = ask("north")
    refusal(refused, 503, "no_server_free")
    assert refused.headers["Retry-After"]
    path = f"/api/tenants/{made.get_json()['id']}/documents"
    assert alice.get(path).status_code == 200


def test_every_server_has_its_own_pool(lab: Laboratory, alice: Person) -> None:
    change(SECOND, capacity=100)
    assert pool.refill(lab.manager, size=1) == pool.Refilled(2, 0)
    found = {n: take_inventory(s).whole_spares for n, s in lab.manager.servers.all().items()}
    assert {name: len(spares) for name, spares in found.items()} == {"default": 1, SECOND: 1}
    keen = lab.another_manager(tenant_pool_size=1)
    tenant_id = lifecycle.register(
        keen, name="A", slug=f"t-{ids.new_id().hex[-12:]}", owner_id=alice.user_id, region="north"
    )
    lifecycle.provision(keen, tenant_id=tenant_id)
    assert serves(lab, tenant_id)
    assert take_inventory(lab.manager.servers.of(SECOND)).spares == frozenset()
    assert pool.refill(lab.manager, size=0) == pool.Refilled(0, 1)


def test_inspection_and_audit_reach_every_server(lab: Laboratory, alice: Person) -> None:
    change(SECOND, capacity=100)
    made = [create(lab, alice) for _ in range(2)]
    assert {each.server for each in made} == {SECOND}
    chosen = [each.tenant_id for each in made]
    assert all(each.is_well for each in inspecting.inspect(lab.manager, jobs=2, tenant_ids=chosen))
    audit = auditing.audit(
        lab.manager, lab.settings, jobs=2, tenant_ids=chosen, tell=lambda _done, _of: None
    )
    assert audit.breaches == []


# Moving.


def test_moved_there_and_back_while_it_is_written_to(
    lab: Laboratory, tenant: TenantLocation, alice: Person
) -> None:
    """What was acknowledged is there afterwards, whatever moment it was written at."""
    written, stop = set(rows_in(lab, tenant)), threading.Event()

    def write() -> None:
        while not stop.is_set():
            row = ids.new_id()
            try:
                with lab.app.app_context():
                    location = where(tenant.tenant_id)
                    with lab.manager.tenant_db_session(location) as session:
                        session.execute(text(_INSERT), {"id": row})
                written.add(row)
            except (AppError, DBAPIError):  # told to come again
                stop.wait(0.02)

    with ThreadPoolExecutor(2) as threads:
        writers = [threads.submit(write) for _ in range(2)]
        try:
            for target, generation in ((SECOND, 1), ("default", 2)):
                before = len(written)
                told: list[str] = []
                moved = moving.move(
                    lab.manager, tenant_id=tenant.tenant_id, target=target, tell=told.append
                )
                assert told == list(moving.STEPS)
                assert (moved.target, moved.generation) == (target, generation)
                assert moved.rows["files"] >= before
                after = len(written)
                until(partial(_more_than, written, after), "a write where it lies now")
        finally:
            stop.set()
        for writer in writers:
            writer.result(timeout=PATIENCE_SECONDS)
    assert rows_in(lab, where(tenant.tenant_id)) == written
    assert [each.type for each in trail(tenant.tenant_id)].count("tenant.moved") == 2
    assert tenant.database not in take_inventory(lab.manager.servers.of(SECOND)).databases


def _more_than(written: set[Any], count: int) -> bool:
    return len(written) > count


def test_a_process_that_knows_the_old_place_writes_nowhere(
    lab: Laboratory, tenant: TenantLocation
) -> None:
    stale = lab.another_manager()
    with stale.tenant_db_session(tenant) as session:
        session.execute(text("SELECT 1"))
    assert stale.pool.open_connections() == 1
    moving.move(lab.manager, tenant_id=tenant.tenant_id, target=SECOND)
    now = where(tenant.tenant_id)
    assert now.key != tenant.key
    for _ in range(2):
        with pytest.raises((AppError, DBAPIError)), stale.tenant_db_session(tenant) as session:
            session.execute(text(_INSERT), {"id": ids.new_id()})
    # Nor does who settles by the old place open a door there.
    transitions.settle(stale, tenant)
    assert tenant.database not in take_inventory(lab.manager.server).roles
    assert len(rows_in(lab, now)) == ROWS
    with stale.tenant_db_session(now) as session:
        assert session.scalar(text("SELECT count(*) FROM files")) == ROWS
    stale.engine.dispose()


def test_files_and_the_audit_trail_stay_as_they_are(lab: Laboratory, alice: Person) -> None:
    with elsewhere_is_full():
        made = create(lab, alice)
    documents = f"/api/tenants/{made.tenant_id}/documents"
    house = type("House", (), {"documents": documents, "id": made.tenant_id})()
    document = upload(alice, house)["id"]
    before = alice.get(f"{documents}/{document}/download").data
    sealed = [vouched_for(lab, made)]
    moving.move(lab.manager, tenant_id=made.tenant_id, target=SECOND)
    assert alice.get(f"{documents}/{document}/download").data == before
    sealed.append(vouched_for(lab, made))
    assert upload(alice, house)["id"] != document
    sealed.append(vouched_for(lab, made))
    assert 0 < sealed[0] < sealed[1] < sealed[2]


def vouched_for(lab: Laboratory, tenant: TenantLocation) -> int:
    """Where the audit trail ends, which is one chain wherever the tenant has lain."""
    sealing.seal_tenant(lab.manager, lab.settings, tenant_id=tenant.tenant_id)
    verifier = Verifier.of(lab.settings)
    verdict = verification.verify_tenant(lab.manager, verifier, tenant_id=tenant.tenant_id)
    assert (verdict.findings, verdict.notes) == ([], [])
    assert verdict.vouched == verdict.entries
    return verdict.vouched


def test_what_cannot_be_moved_is_refused(lab: Laboratory, tenant: TenantLocation) -> None:
    for target in ("default", "third"):
        with pytest.raises(CannotMove):
            moving.move(lab.manager, tenant_id=tenant.tenant_id, target=target)
    change(SECOND, state=ServerState.DRAINING)
    try:
        with pytest.raises(CannotMove, match="draining"):
            moving.move(lab.manager, tenant_id=tenant.tenant_id, target=SECOND)
    finally:
        change(SECOND, state=ServerState.ACTIVE)
    with (
        lab.manager.server.claimed(lab.installation.id, "fleet"),
        pytest.raises(AlreadyClaimed),
    ):
        moving.move(lab.manager, tenant_id=tenant.tenant_id, target=SECOND)


def test_what_goes_wrong_leaves_it_where_it_was(lab: Laboratory, tenant: TenantLocation) -> None:
    with lab.manager.server.connect_as_owner(tenant.database) as connection:
        connection.execute("CREATE TABLE stray (id int)")
    with pytest.raises(MoveFailed, match="stray"):
        moving.move(lab.manager, tenant_id=tenant.tenant_id, target=SECOND)
    with lab.manager.server.connect_as_owner(tenant.database) as connection:
        connection.execute("DROP TABLE stray")
    assert where(tenant.tenant_id) == tenant
    assert tenant.database not in take_inventory(lab.manager.servers.of(SECOND)).databases
    with platform_session() as session:
        newest = moving.newest(session, limit=1)[0]
        assert (newest.step, newest.tenant_id) == ("failed", tenant.tenant_id)
    assert serves(lab, tenant.tenant_id)


def test_killed_at_any_step_it_is_whole_in_one_place(
    lab: Laboratory, tenant: TenantLocation
) -> None:
    """From the beginning of the copy to the last drop; most often where it is switched."""
    expected, places = rows_in(lab, tenant), set()
    with understudy(lab) as doomed:
        move = {"tenant_id": tenant.tenant_id}
        exchanges = doomed.exchanges_of("move", target=SECOND, **move)
        for step in (exchanges // 8, exchanges // 2, *(exchanges - n for n in (52, 41, 30, 19, 8))):
            now = where(tenant.tenant_id)
            target = SECOND if now.server == "default" else "default"
            assert doomed.dies("move", at=step, target=target, **move)
            until(partial(not_moving, lab), "the end of a killed process's claim")
            for finding in reconciliation.find_faults(lab.manager):
                mended = reconciliation.mend(lab.manager, current_storage(), finding)
                assert "failed" not in (mended.outcome or ""), mended
            assert reconciliation.find_faults(lab.manager) == []
            now = where(tenant.tenant_id)
            places.add(now.server == target)
            assert rows_in(lab, now) == expected
            with lab.manager.tenant_db_session(now) as session:
                session.execute(text("UPDATE files SET size = size + 1"))
            other = "default" if now.server == SECOND else SECOND
            left = take_inventory(lab.manager.servers.of(other))
            assert tenant.database not in left.databases | left.roles
    assert places == {True, False}


def not_moving(lab: Laboratory) -> bool:
    try:
        with lab.manager.server.claimed(lab.installation.id, "fleet"):
            return True
    except AlreadyClaimed:
        return False


# One that is away.


def test_a_server_that_is_away_takes_its_own_tenants_only(
    lab: Laboratory, second: PostgresServer, alice: Person
) -> None:
    change(SECOND, capacity=100)
    there = [create(lab, alice) for _ in range(3)]
    with elsewhere_is_full():
        here = create(lab, alice)
    lab.manager.engine.dispose()

    def ask(tenant: TenantLocation) -> Any:
        return alice.get(f"/api/tenants/{tenant.tenant_id}/documents")

    with silent(second):
        with ThreadPoolExecutor(16) as threads:
            lost = [threads.submit(ask, there[number % 3]) for number in range(24)]
            kept = [threads.submit(ask, here) for _ in range(8)]
            assert {each.result(PATIENCE_SECONDS).status_code for each in kept} <= {200, 503}
            answers = [each.result(PATIENCE_SECONDS) for each in lost]
        assert {each.status_code for each in answers} == {503}
        assert all(each.headers["Retry-After"] for each in answers)
        assert ask(here).status_code == 200
        parts = lab.app.test_client().get("/health/ready").get_json()["parts"]
        assert parts["tenants_server"]["status"] == "away"
        [away] = reconciliation.find_faults(lab.manager)
        assert (away.fault, away.database) == (reconciliation.Fault.AWAY, SECOND)
    until(lambda: ask(there[0]).status_code == 200, "the server's return")


@contextmanager
def silent(server: PostgresServer) -> Iterator[None]:
    """It takes connections and says nothing, which is the worst that it can do."""
    os.kill(server.child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.child.pid, signal.SIGCONT)


def test_a_migration_goes_past_a_server_that_is_away(
    lab: Laboratory, second: PostgresServer, alice: Person, tmp_path: Path
) -> None:
    """One that falls silent on the way, one that is away from the start, one that is back."""
    with elsewhere_is_full():
        here = create(lab, alice)
    change(SECOND, capacity=100)
    there = [create(lab, alice) for _ in range(3)]
    ids_ = tuple(each.tenant_id for each in (here, *there))
    hasty = lab.another_manager(migration_attempts=1)
    with released(grow(tmp_path / "tree", column("colour"))):
        with ExitStack() as silence:
            quiet: list[None] = []

            def fall_silent(_: running.Progress) -> None:
                if not quiet:
                    quiet.append(silence.enter_context(silent(second)))

            # Those that are not reached are no failures of the migration.
            order = Order(tenant_ids=ids_, jobs=1, max_failures=0)
            ended = running.start(hasty, order, tell=fall_silent)
            assert ended.status is RunStatus.FAILED
            assert ended.counts["unreached"] >= 2
            assert (ended.counts["failed"], ended.counts["pending"]) == (0, 0)
            again = running.resume(hasty, tell=lambda _: None)
            assert again.counts == ended.counts
        ended = running.resume(lab.manager, tell=lambda _: None)
        assert (ended.status, ended.counts["succeeded"]) == (RunStatus.SUCCEEDED, 4)
        # A process that has had nothing to do with the second server yet.
        looked = list(inspecting.inspect(lab.another_manager(), jobs=2, tenant_ids=ids_))
        assert [each.is_well for each in looked] == [True] * 4
        back = Order(tenant_ids=ids_, downgrade_to=HEAD)
        assert running.start(lab.manager, back, tell=lambda _: None).counts["succeeded"] == 4


def test_each_server_has_to_hold_the_connections(lab: Laboratory) -> None:
    small = {"process_count": 1, "main_pool_size": 1, "tenant_connection_budget": 40}
    check_process(lab.app, lab.settings.model_copy(update=small))
    large = small | {"tenant_connection_budget": 90}  # and the second server accepts 97
    with pytest.raises(InvalidSettings, match=f"100 connections, and the server {SECOND} accepts"):
        check_process(lab.app, lab.settings.model_copy(update=large))


def test_a_login_sealed_in_the_table_is_no_secret_in_the_open(lab: Laboratory) -> None:
    with main_session() as session:
        [sealed] = servers.sealed(session).values()
    assert "postgresql" not in sealed
    with (
        psycopg.connect(lab.settings.database_url.get_secret_value()) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("UPDATE tenant_servers SET capacity = 1")
