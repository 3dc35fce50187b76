"""The warm pool: a claimed database is the same as a fresh one, and one tenant's alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import delete, select
from sqlalchemy.exc import DBAPIError

from app.core import ids
from app.core.db import main_session, platform_session
from app.core.tasks import DEFINITIONS
from app.domains.fleet.models import RunStatus
from app.domains.fleet.service import auditing, inspecting, running
from app.domains.fleet.service.planning import Order
from app.domains.jobs.models import Job
from app.domains.tenants.models import SpareDatabase, TenantState
from app.domains.tenants.service import deletion, lifecycle, pool, reconciliation
from app.domains.tenants.service.directory import TenantRegistry
from app.domains.tenants.service.reconciliation import Fault
from app.integrations.storage import current_storage
from app.tenancy import migrations
from app.tenancy.inspection import take_inventory
from app.tenancy.locations import TenantLocation
from tests.cast import Person, new_person
from tests.domains.fleet.trees import after, column, grow, released
from tests.domains.tenants.ledger import databases_in_ledger, ledger_row, serves, tenants_by_slug
from tests.tenancy.laboratory import PATIENCE_SECONDS, Laboratory, laboratory
from tests.tenancy.processes import Understudy, understudy
from tests.tenancy.test_provisioning import shape, state

SIZE = 5


@pytest.fixture(scope="module")
def lab(
    server_urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Laboratory]:
    folder = tmp_path_factory.mktemp("lab")
    with (
        laboratory(server_urls, folder, tenant_pool_size=SIZE) as made,
        made.app.app_context(),
    ):
        yield made


@pytest.fixture(scope="module")
def alice(lab: Laboratory) -> Person:
    return new_person(lab.app, "Alice")


@pytest.fixture(scope="module")
def doomed(lab: Laboratory) -> Iterator[Understudy]:
    with understudy(lab) as process:
        yield process


@pytest.fixture(autouse=True)
def _nothing_is_left(lab: Laboratory) -> Iterator[None]:
    yield
    refill(lab, 0)
    assert reconciliation.find_faults(lab.manager) == []
    inventory = take_inventory(lab.manager.server)
    assert inventory.databases == inventory.roles == databases_in_ledger()
    assert inventory.spares == frozenset()


def refill(lab: Laboratory, size: int) -> pool.Refilled:
    done = pool.refill(lab.manager, size=size)
    assert done is not None
    return done


def create(lab: Laboratory, owner: Person, slug: str | None = None) -> TenantLocation:
    slug = slug or f"t-{ids.new_id().hex[-12:]}"
    made = lifecycle.create_tenant(lab.manager, name="A", slug=slug, owner_id=owner.user_id)
    return TenantRegistry().locate_tenant(made.id)


def pool_state() -> pool.PoolState:
    with platform_session() as session:
        return pool.state(session)


def oid_of(lab: Laboratory, database: str) -> Any:
    with lab.as_superuser() as superuser:
        row = superuser.execute("SELECT oid FROM pg_database WHERE datname = %s", (database,))
        return row.fetchone()


def test_nobody_gets_into_what_waits(lab: Laboratory) -> None:
    refill(lab, 1)
    [spare_id] = take_inventory(lab.manager.server).spares
    with platform_session() as session:
        row = session.get(SpareDatabase, spare_id)
        assert row is not None
        spare = pool._location_of(lab.manager, row)
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        lab.as_tenant(spare)
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        lab.as_superuser(spare.database)
    with pytest.raises(DBAPIError, match="permission denied"):
        offer_as_the_application()
    assert audit(lab) == []
    with lab.as_superuser() as superuser:
        superuser.execute(f'ALTER ROLE "{spare.role}" LOGIN'.encode())
        superuser.execute(f'GRANT "{lab.installation.tenant_rw}" TO "{spare.role}"'.encode())
    found = audit(lab)
    assert any("may log in" in words for words in found)
    assert any("is in a group" in words for words in found)


def offer_as_the_application() -> None:
    with main_session() as session:
        session.add(SpareDatabase(server="default", sealed_credentials=""))


def audit(lab: Laboratory) -> list[str]:
    done = auditing.audit(lab.manager, lab.settings, jobs=2, tell=lambda _done, _of: None)
    return [breach.words for breach in done.breaches]


def test_a_claimed_database_is_the_same_as_a_fresh_one(lab: Laboratory, alice: Person) -> None:
    fresh = create(lab, alice, "fresher")
    refill(lab, 1)
    [spare_id] = take_inventory(lab.manager.server).spares
    oid = oid_of(lab, lab.installation.spare(spare_id))
    claimed = create(lab, alice, "claimed")
    assert oid_of(lab, claimed.database) == oid
    assert claimed.database == f"tenant_claimed_{claimed.tenant_id.hex}"
    assert shape(state(lab, claimed)).replace("claimed", "fresher") == shape(state(lab, fresh))
    row = ledger_row(claimed.tenant_id)
    assert row is not None
    assert (row.schema_revision, row.spare_id) == (migrations.head(), None)
    assert take_inventory(lab.manager.server).spares == frozenset()
    assert serves(lab, claimed.tenant_id)
    chosen = [fresh.tenant_id, claimed.tenant_id]
    looked = list(inspecting.inspect(lab.manager, jobs=2, tenant_ids=chosen))
    assert [each.is_well for each in looked] == [True, True]
    assert audit(lab) == []


def test_opaque_names_stay_opaque(lab: Laboratory, alice: Person) -> None:
    refill(lab, 1)
    manager = lab.another_manager(opaque_database_names=True)
    made = lifecycle.create_tenant(
        manager, name="A", slug=f"o-{ids.new_id().hex[-8:]}", owner_id=alice.user_id
    )
    assert TenantRegistry().locate_tenant(made.id).database == f"tenant_{made.id.hex}"
    assert pool_state().ready == 0
    assert serves(lab, made.id)


def test_a_refused_tenant_takes_nothing(lab: Laboratory, alice: Person) -> None:
    refill(lab, 1)
    slug = create(lab, alice).database.split("_")[1]
    refill(lab, 1)
    with pytest.raises(Exception, match="is a tenant with the slug"):
        create(lab, alice, tenants_by_slug_of(slug))
    assert pool_state().ready == 1


def tenants_by_slug_of(prefix: str) -> str:
    return next(slug for slug in tenants_by_slug() if slug.startswith(prefix))


def test_thirty_two_at_once_and_a_pool_of_five(lab: Laboratory, alice: Person) -> None:
    assert refill(lab, SIZE) == pool.Refilled(SIZE, 0)
    spares = take_inventory(lab.manager.server).spares
    oids = {oid_of(lab, lab.installation.spare(each)) for each in spares}

    def work(_: int) -> TenantLocation:
        with lab.app.app_context():
            return create(lab, alice)

    with ThreadPoolExecutor(32) as threads:
        made = list(threads.map(work, range(32), timeout=4 * PATIENCE_SECONDS))
    assert len({each.database for each in made}) == 32
    assert oids < {oid_of(lab, each.database) for each in made}
    assert all(serves(lab, each.tenant_id) for each in made)
    assert pool_state() == pool.PoolState()
    assert refill(lab, SIZE) == pool.Refilled(SIZE, 0)
    assert refill(lab, SIZE) == pool.Refilled(0, 0)
    assert refill(lab, 2) == pool.Refilled(0, 3)


def test_a_claim_asks_for_a_refill(lab: Laboratory, alice: Person) -> None:
    mine = Job.name == "tenants.refill_pool"
    with platform_session() as session:
        session.execute(delete(Job).where(mine))
    for _ in range(2):
        create(lab, alice)
    with platform_session() as session:
        slots = session.scalars(select(Job.slot).where(mine)).all()
    assert len(slots) == len(set(slots)) <= 2
    assert all(slot and slot.startswith("claims ") for slot in slots)
    DEFINITIONS["tenants.refill_pool"].run()
    assert pool_state() == pool.PoolState(ready=SIZE)


def test_one_refill_at_a_time(lab: Laboratory) -> None:
    with lab.manager.server.claimed(lab.installation.id, "pool"):
        assert pool.refill(lab.manager, size=1) is None


def test_a_migration_renews_the_pool(lab: Laboratory, alice: Person, tmp_path: Path) -> None:
    refill(lab, 2)
    tree = grow(tmp_path / "tree", column("colour"))
    with released(tree):
        assert pool_state() == pool.PoolState(outdated=2)
        ended = running.start(lab.manager, Order(), tell=lambda _: None)
        assert ended.status is RunStatus.SUCCEEDED
        made = create(lab, alice)  # nobody is given what is outdated
        assert pool_state() == pool.PoolState(outdated=2)
        assert refill(lab, 1) == pool.Refilled(1, 2)
        claimed = create(lab, alice)
        assert pool_state() == pool.PoolState()
        for each in (made, claimed):
            [looked] = inspecting.inspect(lab.manager, jobs=1, tenant_ids=[each.tenant_id])
            assert looked.is_well
        refill(lab, 1)
        head = migrations.head()
    # Code of the release before takes nothing that it does not know, and drops none of it.
    assert head != migrations.head()
    assert pool_state() == pool.PoolState(newer=1)
    assert refill(lab, 1) == pool.Refilled(1, 0)
    with released(tree):
        refill(lab, 0)
        running.start(lab.manager, Order(downgrade_to=after(0)), tell=lambda _: None)


@pytest.mark.parametrize("verb", ["create", "refill"])
def test_killed_at_a_claim_and_at_a_refill(
    lab: Laboratory, doomed: Understudy, alice: Person, verb: str
) -> None:
    """The reconciler makes it one tenant with a database, or none, and leaves no spare behind."""
    refill(lab, 2)
    for step in count(2 if verb == "create" else 1, 2):
        arguments: dict[str, object] = {"size": 3}
        if verb == "create":
            arguments = {"name": "A", "slug": f"killed-{step}", "owner_id": alice.user_id}
        died = doomed.dies(verb, at=step, **arguments)
        for finding in reconciliation.find_faults(lab.manager):
            assert finding.fault in {Fault.UNFINISHED, Fault.SPARE}
            mended = reconciliation.mend(lab.manager, current_storage(), finding)
            assert "failed" not in (mended.outcome or ""), mended
        assert reconciliation.find_faults(lab.manager) == []
        for tenant in tenants_by_slug().get(f"killed-{step}", []):
            assert tenant.state == TenantState.ACTIVE
            assert serves(lab, tenant.id)
        refill(lab, 2)
        if not died:
            break
    assert step > 15


def test_what_a_purged_tenant_claimed_goes_with_it(lab: Laboratory, alice: Person) -> None:
    refill(lab, 1)
    tenant_id = lifecycle.register(lab.manager, name="A", slug="unmade", owner_id=alice.user_id)
    row = ledger_row(tenant_id)
    assert row is not None
    assert take_inventory(lab.manager.server).spares == {row.spare_id}
    assert [each.fault for each in reconciliation.find_faults(lab.manager)] == [Fault.UNFINISHED]
    deletion.purge(lab.manager, current_storage(), tenant_id=tenant_id)
    assert take_inventory(lab.manager.server).spares == frozenset()


def test_what_is_gone_from_the_server_is_made_anew(lab: Laboratory, alice: Person) -> None:
    refill(lab, 2)
    spares = sorted(take_inventory(lab.manager.server).spares)
    names = [lab.installation.spare(each) for each in spares]
    with lab.as_superuser() as superuser:
        superuser.execute(f'DROP DATABASE "{names[0]}"'.encode())
        superuser.execute(f'DROP DATABASE "{names[1]}"'.encode())
    made = create(lab, alice)
    assert serves(lab, made.tenant_id)
    [finding] = reconciliation.find_faults(lab.manager)
    assert (finding.fault, finding.tenant_id) == (Fault.SPARE, spares[1])
    mended = reconciliation.mend(lab.manager, current_storage(), finding)
    assert mended.outcome == "dropped"


def test_off_by_default(house: Laboratory, context: Flask) -> None:
    assert house.settings.tenant_pool_size == 0
    assert not house.manager.keeps_spares
