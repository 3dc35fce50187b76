"""Many who change one tenant at once: registry and server agree at the end."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest

from app.core.errors import NotFound
from app.domains.tenants.errors import WrongState
from app.domains.tenants.models import TenantState
from app.domains.tenants.service import deletion, lifecycle, reconciliation
from app.integrations.storage import current_storage
from app.tenancy.inspection import take_inventory
from tests.cast import Person
from tests.domains.tenants.ledger import serves, set_state, tenant_row
from tests.tenancy.laboratory import PATIENCE_SECONDS, Laboratory


@pytest.mark.parametrize("attempt", range(3))
def test_thirty_at_once_end_in_one_state(lab: Laboratory, alice: Person, attempt: int) -> None:
    """Whatever the order, registry and server agree at the end, and it is a state like any."""
    tenant = lifecycle.create_tenant(
        lab.manager, name="A", slug=f"race-{attempt}", owner_id=alice.user_id
    )
    verbs = [
        lambda manager: lifecycle.suspend(manager, tenant_id=tenant.id),
        lambda manager: lifecycle.resume(manager, tenant_id=tenant.id),
        lambda manager: deletion.delete(
            manager, tenant_id=tenant.id, confirm=tenant.slug, grace=timedelta(0)
        ),
        lambda manager: deletion.restore(manager, tenant_id=tenant.id),
        lambda manager: deletion.finish(manager, current_storage(), tenant_id=tenant.id),
    ]
    managers = [lab.manager, lab.another_manager()]  # two processes

    def run(number: int) -> str:
        with lab.app.app_context():
            try:
                verbs[number % len(verbs)](managers[number % 2])
            except (WrongState, NotFound) as error:
                return error.code
            return "done"

    with ThreadPoolExecutor(30) as pool:
        outcomes = Counter(pool.map(run, range(30), timeout=PATIENCE_SECONDS * 3))
    assert set(outcomes) <= {"done", "wrong_tenant_state", "not_found"}
    state = tenant_row(tenant.id).state
    assert state in {"active", "suspended", "deleted", "purged"}
    overdue = {reconciliation.Fault.UNPURGED} if state == "deleted" else set()
    assert {each.fault for each in reconciliation.find_faults(lab.manager)} == overdue
    inventory = take_inventory(lab.manager.server)
    name = f"tenant_race_{attempt}_{tenant.id.hex}"
    assert (name in inventory.databases) == (state != "purged")
    assert (name in inventory.open_roles) == (state == "active")
    if state != "purged":
        deletion.purge(lab.manager, current_storage(), tenant_id=tenant.id)


def test_two_who_purge_and_one_who_restores(lab: Laboratory, alice: Person) -> None:
    """Of restoring and purging one wins, and nothing in between is left."""
    for attempt in range(5):
        tenant = lifecycle.create_tenant(
            lab.manager, name="A", slug=f"duel-{attempt}", owner_id=alice.user_id
        )
        deletion.delete(lab.manager, tenant_id=tenant.id, confirm=tenant.slug, grace=timedelta(0))
        restored, state = _duel(lab, tenant.id)
        assert state == ("active" if restored else "purged")
        if restored:
            assert serves(lab, tenant.id)
        assert reconciliation.find_faults(lab.manager) == []


def _duel(lab: Laboratory, tenant_id: UUID) -> tuple[bool, str]:
    def purge() -> None:
        with lab.app.app_context():
            deletion.finish(lab.manager, current_storage(), tenant_id=tenant_id)

    def restore() -> bool:
        with lab.app.app_context():
            try:
                deletion.restore(lab.manager, tenant_id=tenant_id)
            except (WrongState, NotFound):
                return False
            return True

    with ThreadPoolExecutor(3) as pool:
        purges = [pool.submit(purge) for _ in range(2)]
        restored = pool.submit(restore).result(PATIENCE_SECONDS)
        for each in purges:
            each.result(PATIENCE_SECONDS)
    return restored, tenant_row(tenant_id).state


def test_a_purge_that_broke_off_is_finished(lab: Laboratory, alice: Person) -> None:
    tenant = lifecycle.create_tenant(
        lab.manager, name="A", slug="broken-off", owner_id=alice.user_id
    )
    set_state(tenant.id, TenantState.PURGING)
    deletion.finish(lab.manager, current_storage(), tenant_id=tenant.id)
    assert tenant_row(tenant.id).state == TenantState.PURGED


def test_an_active_tenant_that_is_shut_is_let_in(lab: Laboratory, alice: Person) -> None:
    """A process died between the registry and the server."""
    tenant = lifecycle.create_tenant(lab.manager, name="A", slug="shut", owner_id=alice.user_id)
    lifecycle.suspend(lab.manager, tenant_id=tenant.id)
    set_state(tenant.id, TenantState.ACTIVE)
    [finding] = reconciliation.find_faults(lab.manager)
    assert finding.fault is reconciliation.Fault.NOT_LET_IN
    assert reconciliation.mend(lab.manager, current_storage(), finding).outcome == "let in"
    assert serves(lab, tenant.id)
    deletion.purge(lab.manager, current_storage(), tenant_id=tenant.id)
