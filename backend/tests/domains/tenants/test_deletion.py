"""Deleting, restoring and purging a tenant, beginning with those who must not."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from flask import Flask

from app.core import clock
from app.domains.tenants.models import TenantState
from app.domains.tenants.service import deletion, lifecycle
from app.domains.tenants.service.directory import TenantRegistry
from app.integrations.storage import current_storage
from app.settings import Settings
from app.tenancy.inspection import take_inventory
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere
from tests.domains.access.ledger import change_tenant
from tests.domains.documents.files import stored, upload
from tests.domains.tenants.ledger import jobs_of, ledger_row, run_jobs, serves, tenant_row, trail
from tests.tenancy.laboratory import Laboratory

GRACE = timedelta(days=30)


@pytest.fixture
def alice(context: Flask) -> Person:
    """Somebody new, whose tenants are only hers."""
    return new_person(context, "Alice")


@pytest.fixture
def acme(cast: Cast, alice: Person) -> House:
    return new_house("acme", alice, admin=cast.ada, viewer=cast.bob)


def path(house: House) -> str:
    return f"/api/tenants/{house.id}"


def delete(person: Person, house: House, confirm: str | None = None) -> Any:
    return person.delete(path(house), query_string={"confirm": confirm or house.slug})


def end_grace(house: House) -> None:
    change_tenant(house.id, purge_at=clock.now() - timedelta(seconds=1))


def purge_overdue(lab: Laboratory, house: House) -> None:
    deletion.finish(lab.manager, current_storage(), tenant_id=house.id)


def test_nobody_else_deletes_or_restores(cast: Cast, acme: House, alice: Person) -> None:
    for person, status in ((cast.mallory, 404), (cast.sam, 404), (cast.bob, 403), (cast.ada, 403)):
        refusal(delete(person, acme), status)
        refusal(person.post(path(acme) + "/restore"), status)
    assert alice.get(acme.documents).status_code == 200


def test_what_is_not_named_is_not_deleted(acme: House, alice: Person) -> None:
    refusal(alice.delete(path(acme)), 422)
    for wrong in ("", "globex", acme.slug.upper(), str(acme.id)):
        problem = refusal(alice.delete(path(acme), query_string={"confirm": wrong}), 422)
        assert set(problem["errors"]) == {"confirm"}
    assert alice.get(path(acme)).get_json()["state"] == "active"


def test_deleted_nobody_gets_in(cast: Cast, acme: House, alice: Person, house: Laboratory) -> None:
    document = upload(alice, acme)["id"]
    location = TenantRegistry().locate_tenant(acme.id)
    live = house.as_tenant(location)
    before = clock.now()
    deleted = delete(alice, acme).get_json()
    assert (deleted["state"], deleted["active"]) == ("deleted", False)
    purge_at = datetime.fromisoformat(deleted["purge_at"])
    assert before + GRACE <= purge_at <= clock.now() + GRACE
    for address in (acme.documents, f"{acme.documents}/{document}", path(acme) + "/users"):
        for person in (alice, cast.ada, cast.bob):
            refusal(person.get(address), 410, "tenant_deleted")
        refusal(cast.mallory.get(address), 404, "not_found")
        refusal(cast.petra.get(address), 404, "not_found")
    with pytest.raises(psycopg.OperationalError):
        live.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        house.as_tenant(location)


def test_who_may_restore_it_sees_it(cast: Cast, acme: House, alice: Person) -> None:
    delete(alice, acme)
    assert alice.get(path(acme)).get_json()["state"] == "deleted"
    assert [each["state"] for each in alice.get("/api/tenants").get_json()["items"]] == ["deleted"]
    assert cast.petra.get(path(acme)).get_json()["state"] == "deleted"
    for member in (cast.ada, cast.bob):
        refusal(member.get(path(acme)), 410, "tenant_deleted")
        listed = member.get("/api/tenants").get_json()["items"]
        assert str(acme.id) not in {each["id"] for each in listed}
    refusal(cast.mallory.get(path(acme)), 404)


@pytest.mark.parametrize("who", ["alice", "petra"])
def test_restored_everything_is_there(
    cast: Cast, acme: House, alice: Person, house: Laboratory, who: str
) -> None:
    person = alice if who == "alice" else cast.petra
    document = upload(alice, acme)["id"]
    assert delete(person, acme).status_code == 200
    restored = person.post(path(acme) + "/restore").get_json()
    assert (restored["state"], restored["active"], restored["purge_at"]) == ("active", True, None)
    assert cast.bob.get(f"{acme.documents}/{document}/download").data == b"plans"


def test_deleting_again_does_not_begin_anew(acme: House, alice: Person) -> None:
    first, second = (delete(alice, acme).get_json() for _ in range(2))
    assert second == first


def test_a_slug_stays_reserved_until_the_purge(
    cast: Cast, acme: House, alice: Person, house: Laboratory
) -> None:
    wish = {"name": "Mine", "slug": acme.slug}
    delete(alice, acme)
    refusal(cast.mallory.post("/api/tenants", json=wish), 409, "slug_taken")
    end_grace(acme)
    purge_overdue(house, acme)
    made = alice.post("/api/tenants", json=wish)
    assert made.status_code == 201
    assert made.get_json()["id"] != str(acme.id)


def test_purged_nothing_is_left(
    cast: Cast, acme: House, alice: Person, house: Laboratory, settings: Settings
) -> None:
    upload(alice, acme)
    other = upload(cast.alice, cast.acme)["id"]
    delete(alice, acme)
    purge_overdue(house, acme)
    assert tenant_row(acme.id).state == TenantState.DELETED, "its grace is not over"
    assert stored(settings, acme)
    end_grace(acme)
    purge_overdue(house, acme)
    assert tenant_row(acme.id).state == TenantState.PURGED
    assert ledger_row(acme.id) is None
    assert stored(settings, acme) == set()
    inventory = take_inventory(house.manager.server)
    assert acme.database not in inventory.databases | inventory.roles
    refusal(alice.get(path(acme)), 404)
    refusal(alice.post(path(acme) + "/restore"), 404)
    assert alice.get("/api/tenants").get_json()["items"] == []
    assert cast.alice.get(f"{cast.acme.documents}/{other}/download").data == b"plans"
    purge_overdue(house, acme)  # twice is once


def test_the_job_of_a_deletion_is_due_when_the_grace_is_over(
    acme: House, alice: Person, house: Laboratory
) -> None:
    """One that was restored meanwhile is left alone, and so is one that was deleted again."""
    purge_at = datetime.fromisoformat(delete(alice, acme).get_json()["purge_at"])
    assert jobs_of(acme.id)[-1].due_at == purge_at
    run_jobs(house, acme.id)
    assert tenant_row(acme.id).state == TenantState.DELETED
    alice.post(path(acme) + "/restore")
    purge_overdue(house, acme)
    assert tenant_row(acme.id).state == TenantState.ACTIVE
    delete(alice, acme)
    purge_overdue(house, acme)
    assert tenant_row(acme.id).state == TenantState.DELETED
    end_grace(acme)
    run_jobs(house, acme.id)
    assert tenant_row(acme.id).state == TenantState.PURGED


def test_a_store_that_is_away_delays_the_purge(
    acme: House, alice: Person, house: Laboratory, settings: Settings
) -> None:
    """Nothing says that the files are gone while they are not."""
    upload(alice, acme)
    delete(alice, acme)
    end_grace(acme)
    folder = settings.storage_path / "tenants" / acme.database
    hidden = folder.with_name("hidden")
    folder.rename(hidden)
    folder.write_text("no folder")
    with pytest.raises(Exception, match="file store"):
        purge_overdue(house, acme)
    assert tenant_row(acme.id).state == TenantState.PURGING
    folder.unlink()
    hidden.rename(folder)
    purge_overdue(house, acme)
    assert tenant_row(acme.id).state == TenantState.PURGED
    assert stored(settings, acme) == set()


def test_who_was_suspended_is_suspended_again(cast: Cast, acme: House, alice: Person) -> None:
    """Deleting and restoring is no way around a suspension."""
    cast.petra.post(path(acme) + "/suspend", json={"reason": "unpaid"})
    assert delete(alice, acme).status_code == 200
    restored = alice.post(path(acme) + "/restore").get_json()
    assert (restored["state"], restored["suspension_reason"]) == ("suspended", "unpaid")
    refusal(alice.get(acme.documents), 403, "tenant_suspended")
    assert cast.petra.post(path(acme) + "/resume").get_json()["state"] == "active"
    assert alice.get(acme.documents).status_code == 200


def test_what_never_had_a_database_is_made_when_it_is_restored(
    house: Laboratory, alice: Person
) -> None:
    tenant_id = lifecycle.register(
        house.manager, name="A", slug=f"half-{alice.user_id.hex[-8:]}", owner_id=alice.user_id
    )
    half = House(tenant_id, tenant_row(tenant_id).slug, "")
    assert delete(alice, half).get_json()["state"] == "deleted"
    assert alice.post(path(half) + "/restore").get_json()["state"] == "active"
    assert serves(house, tenant_id)


def test_the_wrong_state_is_a_conflict(cast: Cast, acme: House, alice: Person) -> None:
    refusal(alice.post(path(acme) + "/restore"), 409, "wrong_tenant_state")
    delete(alice, acme)
    for verb in ("suspend", "resume", "retry"):
        refusal(cast.petra.post(f"{path(acme)}/{verb}"), 409, "wrong_tenant_state")
    change_tenant(acme.id, state="purging")
    refusal(alice.post(path(acme) + "/restore"), 409, "wrong_tenant_state")
    refusal(delete(alice, acme), 409, "wrong_tenant_state")
    change_tenant(acme.id, state="deleted")
    assert alice.post(path(acme) + "/restore").status_code == 200


def test_the_other_process_knows_at_once(acme: House, alice: Person, settings: Settings) -> None:
    with another_app(settings) as app:
        there = elsewhere(alice, app)
        assert there.get(acme.documents).status_code == 200  # it has a connection open
        delete(alice, acme)
        refusal(there.get(acme.documents), 410, "tenant_deleted")
        assert there.post(path(acme) + "/restore").get_json()["state"] == "active"
        assert alice.get(acme.documents).status_code == 200
        assert there.get(acme.documents).status_code == 200


def test_a_life_is_told_to_the_trail(cast: Cast, house: Laboratory, alice: Person) -> None:
    wish = {"name": "Brief", "slug": f"brief-{alice.user_id.hex[-8:]}"}
    made = alice.post("/api/tenants", json=wish).get_json()
    brief = House(UUID(made["id"]), made["slug"], "")
    alice.patch(path(brief), json={"name": "Briefer"})
    cast.petra.post(path(brief) + "/suspend", json={"reason": "unpaid"})
    cast.petra.post(path(brief) + "/resume")
    for _ in range(2):
        delete(alice, brief)
    alice.post(path(brief) + "/restore")
    delete(alice, brief)
    end_grace(brief)
    purge_overdue(house, brief)
    told = trail(brief.id)
    assert [(entry.type, entry.user_id) for entry in told] == [
        ("tenant.created", alice.user_id),
        ("tenant.renamed", alice.user_id),
        ("tenant.suspended", cast.petra.user_id),
        ("tenant.resumed", cast.petra.user_id),
        ("tenant.deleted", alice.user_id),
        ("tenant.restored", alice.user_id),
        ("tenant.deleted", alice.user_id),
        ("tenant.purged", None),
    ]
    assert {entry.target for entry in told} == {str(brief.id)}
    assert told[2].details["reason"] == "unpaid"
