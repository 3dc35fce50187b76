"""A tenant's state bars its members, and nobody else's; strangers learn nothing of it."""

from uuid import uuid4

import pytest
from flask import Flask

from app.domains.tenants.service import lifecycle
from app.tenancy import migrations
from app.tenancy.manager import current_manager
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.access.ledger import change_database, change_tenant
from tests.domains.documents.files import send, upload


@pytest.fixture(scope="module")
def owner(app: Flask) -> Person:
    with app.app_context():
        return new_person(app, "Alice")


@pytest.fixture(scope="module")
def viewer(app: Flask) -> Person:
    with app.app_context():
        return new_person(app, "Bob")


@pytest.fixture(scope="module")
def house(app: Flask, owner: Person, viewer: Person) -> House:
    with app.app_context():
        return new_house("hooli", owner, viewer=viewer)


def statuses(person: Person, house: House, document: object) -> set[tuple[int, str]]:
    """What every route of the tenant's data answers."""
    one = f"{house.documents}/{document}"
    answers = [
        send(person, house),
        *(person.get(path) for path in (house.documents, one, one + "/download")),
        person.get(one + "/download-url"),
        person.delete(one),
    ]
    return {(answer.status_code, answer.get_json()["code"]) for answer in answers}


def test_a_suspended_tenant_bars_all_its_members(
    context: Flask, cast: Cast, house: House, owner: Person, viewer: Person
) -> None:
    document = upload(owner, house)["id"]
    lifecycle.suspend(current_manager(), tenant_id=house.id)
    try:
        assert statuses(cast.mallory, house, document) == {(404, "not_found")}
        assert statuses(owner, house, document) == {(403, "tenant_suspended")}
        refusal(viewer.get(house.documents), 403, "tenant_suspended")
        # They may see that it is.
        assert viewer.get(f"/api/tenants/{house.id}").get_json()["state"] == "suspended"
        refusal(cast.mallory.get(f"/api/tenants/{house.id}"), 404)
        assert cast.alice.get(cast.acme.documents).status_code == 200
    finally:
        lifecycle.resume(current_manager(), tenant_id=house.id)
    assert owner.get(f"{house.documents}/{document}").status_code == 200


@pytest.mark.parametrize("state", ["requested", "creating", "failed"])
def test_a_tenant_that_is_not_ready_is_unavailable(
    *, context: Flask, cast: Cast, house: House, owner: Person, viewer: Person, state: str
) -> None:
    change_tenant(house.id, state=state)
    try:
        assert statuses(cast.mallory, house, uuid4()) == {(404, "not_found")}
        assert statuses(owner, house, uuid4()) == {(503, "tenant_not_ready")}
        assert int(viewer.get(house.documents).headers["Retry-After"]) > 0
        assert owner.get(f"/api/tenants/{house.id}").get_json()["state"] == state
        assert cast.alice.get(cast.acme.documents).status_code == 200
    finally:
        change_tenant(house.id, state="active")
    assert owner.get(house.documents).status_code == 200


def test_a_purged_tenant_is_no_tenant(context: Flask, house: House, owner: Person) -> None:
    change_tenant(house.id, state="purged")
    try:
        assert statuses(owner, house, uuid4()) == {(404, "not_found")}
        refusal(owner.get(f"/api/tenants/{house.id}"), 404)
        assert owner.get("/api/tenants").get_json()["items"] == []
    finally:
        change_tenant(house.id, state="active")


@pytest.mark.parametrize("revision", [None, "0000", "9999", ""])
def test_a_schema_that_this_code_does_not_know_bars_that_tenant_alone(
    context: Flask, cast: Cast, house: House, owner: Person, revision: str | None
) -> None:
    change_database(house.id, schema_revision=revision)
    try:
        assert statuses(owner, house, uuid4()) == {(503, "tenant_not_ready")}
        assert int(owner.get(house.documents).headers["Retry-After"]) > 0
        refusal(cast.mallory.get(house.documents), 404)
        assert cast.alice.get(cast.acme.documents).status_code == 200
    finally:
        change_database(house.id, schema_revision=migrations.head())
    assert owner.get(house.documents).status_code == 200


def test_a_tenant_that_does_not_exist(cast: Cast) -> None:
    refusal(cast.alice.get(f"/api/tenants/{uuid4()}/documents"), 404, "not_found")


@pytest.mark.parametrize("tenant", ["acme", "0", "..%2f..", "%00", "null", "' OR true --"])
def test_a_tenant_is_named_by_its_id(cast: Cast, tenant: str) -> None:
    assert cast.alice.get(f"/api/tenants/{tenant}/documents").status_code in {400, 404}
