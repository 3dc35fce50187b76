"""A tenant's life, told by its verbs: what each allows, leaves behind, and does twice."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

import pytest

from app.core import ids
from app.core.db import db
from app.core.errors import AppError, NotFound
from app.domains.tenants.errors import ProvisioningFailed, SlugTaken, WrongState
from app.domains.tenants.models import TenantState
from app.domains.tenants.queries import Membership
from app.domains.tenants.service import deletion, lifecycle, reconciliation
from app.integrations.storage import current_storage
from app.tenancy import migrations
from app.tenancy.inspection import take_inventory
from app.tenancy.manager import TenantDatabaseManager
from tests.cast import Cast, Person
from tests.domains.tenants.ledger import (
    databases_in_ledger,
    ledger_row,
    serves,
    tenant_row,
    tenants_by_slug,
)
from tests.tenancy.laboratory import PATIENCE_SECONDS, Laboratory


def create(lab: Laboratory, owner: Person, slug: str | None = None) -> Membership:
    slug = slug or f"t-{ids.new_id().hex[-12:]}"
    return lifecycle.create_tenant(lab.manager, name="Acme", slug=slug, owner_id=owner.user_id)


def purge(lab: Laboratory, tenant_id: UUID) -> None:
    deletion.purge(lab.manager, current_storage(), tenant_id=tenant_id)


def server_is_away(lab: Laboratory) -> TenantDatabaseManager:
    manager = lab.another_manager()
    manager.server._address = {"host": "/nowhere", "connect_timeout": 2}
    manager.server._provisioner = {"user": "nobody"}
    return manager


def all_at_once(lab: Laboratory, *works: Callable[[], object]) -> list[object]:
    """Each work's result, or the error of ours that it raised."""
    start = Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        with lab.app.app_context():
            start.wait(PATIENCE_SECONDS)
            try:
                return work()
            except AppError as error:
                return error

    with ThreadPoolExecutor(len(works)) as pool:
        running = [pool.submit(run, work) for work in works]
        outcomes = [each.result(PATIENCE_SECONDS) for each in running]
    db.engine.dispose()  # a server with few connections has other tests to serve
    return outcomes


def test_a_new_tenant_is_active_owned_and_in_the_ledger(lab: Laboratory, alice: Person) -> None:
    made = create(lab, alice, "acme")
    assert (made.slug, made.state, made.role) == ("acme", "active", "owner")
    row = ledger_row(made.id)
    assert row is not None
    assert row.schema_revision == migrations.head()
    assert row.database == f"tenant_acme_{made.id.hex}"
    assert serves(lab, made.id)


def test_one_slug_asked_for_by_many_at_once_is_one_tenant(lab: Laboratory, alice: Person) -> None:
    outcomes = all_at_once(lab, *[lambda: create(lab, alice, "wanted")] * 32)
    assert Counter(type(outcome) for outcome in outcomes) == {Membership: 1, SlugTaken: 31}
    [tenant] = tenants_by_slug()["wanted"]
    assert tenant.state == TenantState.ACTIVE
    inventory = take_inventory(lab.manager.server)
    for names in (inventory.databases, inventory.roles, databases_in_ledger()):
        assert sum(name.startswith("tenant_wanted_") for name in names) == 1
    assert serves(lab, tenant.id)


def test_many_tenants_at_once(lab: Laboratory, alice: Person) -> None:
    outcomes = all_at_once(lab, *[lambda: create(lab, alice)] * 8)
    assert {type(outcome) for outcome in outcomes} == {Membership}


def test_an_owner_who_does_not_exist_is_not_told_that_the_slug_is_taken(lab: Laboratory) -> None:
    with pytest.raises(NotFound):
        lifecycle.register(lab.manager, name="A", slug="orphaned", owner_id=ids.new_id())
    assert "orphaned" not in tenants_by_slug()


def test_a_failed_provisioning_is_told_of_and_can_be_retried(
    lab: Laboratory, alice: Person
) -> None:
    away = server_is_away(lab)
    with pytest.raises(ProvisioningFailed) as failed:
        lifecycle.create_tenant(away, name="A", slug="unlucky", owner_id=alice.user_id)
    assert (failed.value.status, failed.value.retry_after) == (503, 10)
    [tenant] = tenants_by_slug()["unlucky"]
    assert tenant.state == TenantState.FAILED
    assert tenant.failure == "The tenants' server cannot be reached."
    with pytest.raises(SlugTaken):
        create(lab, alice, "unlucky")
    with pytest.raises(ProvisioningFailed):
        lifecycle.provision(away, tenant_id=tenant.id)
    lifecycle.provision(lab.manager, tenant_id=tenant.id)
    tenant = tenant_row(tenant.id)
    assert (tenant.state, tenant.failure) == (TenantState.ACTIVE, None)
    assert serves(lab, tenant.id)


def test_what_the_server_said_is_not_told_to_the_owner(lab: Laboratory, alice: Person) -> None:
    tenant_id = lifecycle.register(lab.manager, name="A", slug="unsaid", owner_id=alice.user_id)
    row = ledger_row(tenant_id)
    assert row is not None
    with lab.as_superuser() as superuser:
        superuser.execute(f'CREATE ROLE "{row.database}" SUPERUSER'.encode())
    with pytest.raises(ProvisioningFailed):
        lifecycle.provision(lab.manager, tenant_id=tenant_id)
    assert tenant_row(tenant_id).failure == "unexpected error"
    with lab.as_superuser() as superuser:
        superuser.execute(f'DROP ROLE "{row.database}"'.encode())
    lifecycle.provision(lab.manager, tenant_id=tenant_id)


def test_which_verb_a_state_allows(lab: Laboratory, alice: Person) -> None:
    manager = lab.manager
    requested = lifecycle.register(manager, name="A", slug="states", owner_id=alice.user_id)
    for verb in (lifecycle.suspend, lifecycle.resume):
        with pytest.raises(WrongState):
            verb(manager, tenant_id=requested)
    lifecycle.provision(manager, tenant_id=requested)
    for verb in (lifecycle.provision, lifecycle.resume):
        with pytest.raises(WrongState):
            verb(manager, tenant_id=requested)
    lifecycle.suspend(manager, tenant_id=requested)
    with pytest.raises(WrongState):
        lifecycle.provision(manager, tenant_id=requested)
    purge(lab, requested)
    for verb in (lifecycle.provision, lifecycle.suspend, lifecycle.resume, deletion.restore):
        with pytest.raises(NotFound):
            verb(manager, tenant_id=requested)
        with pytest.raises(NotFound):
            verb(manager, tenant_id=ids.new_id())


def test_suspended_and_resumed(lab: Laboratory, alice: Person) -> None:
    made = create(lab, alice)
    documents = f"/api/tenants/{made.id}/documents"
    assert alice.get(documents).status_code == 200
    for _ in range(2):
        lifecycle.suspend(lab.manager, tenant_id=made.id)
    answer = alice.get(documents)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "tenant_suspended")
    assert alice.get(f"/api/tenants/{made.id}").get_json()["state"] == "suspended"
    lifecycle.resume(lab.manager, tenant_id=made.id)
    assert alice.get(documents).status_code == 200


def test_purged_and_its_slug_free_again(lab: Laboratory, alice: Person) -> None:
    made = create(lab, alice, "phoenix")
    purge(lab, made.id)
    assert tenant_row(made.id).state == TenantState.PURGED
    assert ledger_row(made.id) is None
    assert made.id.hex not in repr(take_inventory(lab.manager.server))
    assert alice.get(f"/api/tenants/{made.id}").status_code == 404
    assert alice.get(f"/api/tenants/{made.id}/documents").status_code == 404
    again = create(lab, alice, "phoenix")
    assert again.id != made.id
    assert serves(lab, again.id)


def test_a_slug_is_not_free_while_its_database_lives(lab: Laboratory, alice: Person) -> None:
    made = create(lab, alice, "lingering")
    with pytest.raises(AppError):
        deletion.purge(server_is_away(lab), current_storage(), tenant_id=made.id)
    assert tenant_row(made.id).state == TenantState.PURGING
    with pytest.raises(SlugTaken):
        create(lab, alice, "lingering")
    purge(lab, made.id)
    create(lab, alice, "lingering")


def test_one_tenant_provisioned_by_many_at_once(lab: Laboratory, alice: Person) -> None:
    tenant_id = lifecycle.register(lab.manager, name="A", slug="crowded", owner_id=alice.user_id)
    outcomes = all_at_once(
        lab, *[lambda: lifecycle.provision(lab.manager, tenant_id=tenant_id)] * 4
    )
    assert {type(outcome) for outcome in outcomes} <= {type(None), WrongState}
    assert None in outcomes
    assert tenant_row(tenant_id).state == TenantState.ACTIVE
    assert serves(lab, tenant_id)


@pytest.mark.parametrize("attempt", range(3))
def test_purged_while_it_is_being_made(lab: Laboratory, alice: Person, attempt: int) -> None:
    tenant_id = lifecycle.register(
        lab.manager, name="A", slug=f"brief-{attempt}", owner_id=alice.user_id
    )
    all_at_once(
        lab,
        lambda: lifecycle.provision(lab.manager, tenant_id=tenant_id),
        lambda: purge(lab, tenant_id),
    )
    for finding in reconciliation.find_faults(lab.manager):
        reconciliation.mend(lab.manager, current_storage(), finding)
    assert reconciliation.find_faults(lab.manager) == []
    assert tenant_row(tenant_id).state == TenantState.PURGED
    assert tenant_id.hex not in repr(take_inventory(lab.manager.server))


@pytest.mark.parametrize("attempt", range(3))
def test_suspended_and_purged_at_once(lab: Laboratory, alice: Person, attempt: int) -> None:
    made = create(lab, alice)
    outcomes = all_at_once(
        lab,
        lambda: lifecycle.suspend(lab.manager, tenant_id=made.id),
        lambda: purge(lab, made.id),
    )
    assert outcomes[1] is None
    assert tenant_row(made.id).state == TenantState.PURGED
    assert made.id.hex not in repr(take_inventory(lab.manager.server))


def test_retrying_over_http_is_the_owners_alone(cast: Cast) -> None:
    path = f"/api/tenants/{cast.acme.id}/retry"
    assert cast.mallory.post(path).status_code == 404
    assert cast.bob.post(path).status_code == 403
    assert cast.ada.post(path).status_code == 403
    answer = cast.alice.post(path)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "wrong_tenant_state")


def test_a_tenant_that_is_being_made_answers_try_later(lab: Laboratory, alice: Person) -> None:
    tenant_id: UUID = lifecycle.register(lab.manager, name="A", slug="soon", owner_id=alice.user_id)
    answer = alice.get(f"/api/tenants/{tenant_id}/documents")
    assert (answer.status_code, answer.get_json()["code"]) == (503, "tenant_not_ready")
    assert int(answer.headers["Retry-After"]) > 0
    assert alice.post(f"/api/tenants/{tenant_id}/retry").get_json()["state"] == "active"
    assert alice.get(f"/api/tenants/{tenant_id}/documents").status_code == 200
