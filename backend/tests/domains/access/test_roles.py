"""What each role may do with documents; a change counts from the next request on."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from flask import Flask

from app.core.db import main_session
from app.domains.access.policy import PERMISSIONS
from app.domains.tenants.service import members
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.access.ledger import change_role, remove_member
from tests.domains.documents.files import send, upload

# The columns are the actions below; a stranger, also one of the platform, finds nothing.
# fmt: off
ROLES = {
    #          list  read  bytes  link  create  delete own  delete another's  tenant
    "mallory": (404,  404,  404,  404,  404,    404,        404,              404),
    "petra":   (404,  404,  404,  404,  404,    404,        404,              200),
    "sam":     (404,  404,  404,  404,  404,    404,        404,              404),
    "bob":     (200,  200,  200,  200,  403,    403,        403,              200),
    "ursula":  (200,  200,  200,  200,  201,    204,        403,              200),
    "ada":     (200,  200,  200,  200,  201,    204,        204,              200),
    "alice":   (200,  200,  200,  200,  201,    204,        204,              200),
}
# fmt: on


def own_document(cast: Cast, person: Person) -> str:
    """One that the person uploaded, if ever allowed to: as a user who later got another role."""
    if person.name not in {"Bob", "Mallory", "Petra", "Sam"}:
        return str(upload(person, cast.acme)["id"])
    if person is cast.bob:
        change_role(cast.acme.id, person.user_id, "user")
        try:
            return str(upload(person, cast.acme)["id"])
        finally:
            change_role(cast.acme.id, person.user_id, "viewer")
    return str(uuid4())


@pytest.mark.parametrize("name", ROLES)
def test_what_a_role_may_do(context: Flask, cast: Cast, name: str) -> None:
    person: Person = getattr(cast, name)
    other = cast.ada if person is cast.alice else cast.alice
    theirs = upload(other, cast.acme)["id"]
    own = own_document(cast, person)
    base = cast.acme.documents
    actions: list[Callable[[], int]] = [
        lambda: person.get(base).status_code,
        lambda: person.get(f"{base}/{theirs}").status_code,
        lambda: person.get(f"{base}/{theirs}/download").status_code,
        lambda: person.get(f"{base}/{theirs}/download-url").status_code,
        lambda: send(person, cast.acme).status_code,
        lambda: person.delete(f"{base}/{own}").status_code,
        lambda: person.delete(f"{base}/{theirs}").status_code,
        lambda: person.get(f"/api/tenants/{cast.acme.id}").status_code,
    ]
    assert tuple(act() for act in actions) == ROLES[name]
    left = 404 if ROLES[name][6] == 204 else 200
    assert other.get(f"{base}/{theirs}").status_code == left


def test_each_role_may_what_the_one_below_it_may() -> None:
    viewer, user, admin, owner = (
        PERMISSIONS[role] for role in ("viewer", "user", "admin", "owner")
    )
    assert viewer < user < admin < owner


@pytest.fixture(scope="module")
def house(app: Flask) -> House:
    with app.app_context():
        return new_house("initech", new_person(app, "Ada"))


@pytest.fixture
def walter(context: Flask, house: House) -> Person:
    """A user of the house."""
    person = new_person(context, "Bob")
    with main_session(tenant_id=house.id) as session:
        members.add_member(session, tenant_id=house.id, user_id=person.user_id, role="user")
    return person


def test_a_changed_role_counts_from_the_next_request_on(walter: Person, house: House) -> None:
    document = upload(walter, house)
    change_role(house.id, walter.user_id, "viewer")
    refusal(send(walter, house), 403, "forbidden")
    refusal(walter.delete(f"{house.documents}/{document['id']}"), 403, "forbidden")
    assert walter.get(house.documents).status_code == 200
    change_role(house.id, walter.user_id, "admin")
    assert send(walter, house).status_code == 201


def test_a_removed_member_is_a_stranger(walter: Person, house: House) -> None:
    document = upload(walter, house)
    remove_member(house.id, walter.user_id)
    for path in ("", f"/{document['id']}", f"/{document['id']}/download"):
        refusal(walter.get(house.documents + path), 404, "not_found")
    refusal(send(walter, house), 404, "not_found")
    assert walter.get("/api/tenants").get_json()["items"] == []
    assert walter.get("/api/users/me").status_code == 200


def test_the_refusal_names_the_permission(cast: Cast) -> None:
    problem = refusal(send(cast.bob, cast.acme), 403, "forbidden")
    assert "documents:create" in problem["detail"]


def test_a_document_is_found_under_its_own_tenant_alone(cast: Cast) -> None:
    """Mallory names Alice's document beneath her own tenant."""
    document = upload(cast.alice, cast.acme)["id"]
    for suffix in ("", "/download", "/download-url"):
        refusal(cast.mallory.get(f"{cast.globex.documents}/{document}{suffix}"), 404)
    refusal(cast.mallory.delete(f"{cast.globex.documents}/{document}"), 404)
    assert cast.alice.get(f"{cast.acme.documents}/{document}").status_code == 200
