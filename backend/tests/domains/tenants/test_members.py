"""Who belongs to a tenant, in which role."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.tenants.ledger import trail


@pytest.fixture
def bob(context: Flask) -> Person:
    return new_person(context, "Bob")


@pytest.fixture
def ada(context: Flask) -> Person:
    return new_person(context, "Ada")


@pytest.fixture
def house(cast: Cast, ada: Person, bob: Person) -> House:
    """A tenant of Alice's, with an administrator and a viewer who may lose their roles."""
    return new_house("initech", cast.alice, admin=ada, viewer=bob)


def _users(house: House, person: Person | None = None) -> str:
    return f"/api/tenants/{house.id}/users" + (f"/{person.user_id}" if person else "")


def _role(asker: Person, house: House, person: Person) -> str | None:
    listed = asker.get(_users(house)).get_json()["items"]
    return {each["user_id"]: each["role"] for each in listed}.get(str(person.user_id))


def test_mallory_neither_sees_nor_changes_them(cast: Cast, house: House, bob: Person) -> None:
    refusal(cast.mallory.get(_users(house)), 404)
    refusal(cast.mallory.patch(_users(house, bob), json={"role": "owner"}), 404)
    refusal(cast.mallory.delete(_users(house, bob)), 404)
    assert _role(cast.alice, house, bob) == "viewer"


def test_a_tenants_members_are_its_own(cast: Cast, house: House) -> None:
    """Ursula of acme is a member, but not of this tenant."""
    refusal(cast.alice.patch(_users(house, cast.ursula), json={"role": "admin"}), 404)
    refusal(cast.alice.delete(_users(house, cast.ursula)), 404)
    assert _role(cast.alice, cast.acme, cast.ursula) == "user"


def test_a_viewer_reads_and_changes_nobody(house: House, bob: Person) -> None:
    assert bob.get(_users(house)).status_code == 200
    refusal(bob.patch(_users(house, bob), json={"role": "admin"}), 403)
    refusal(bob.delete(_users(house, bob)), 403)


def test_a_role_counts_from_the_next_request_on(house: House, ada: Person, bob: Person) -> None:
    refusal(bob.delete(f"{house.documents}/{house.id}"), 403)
    assert ada.patch(_users(house, bob), json={"role": "user"}).get_json()["role"] == "user"
    refusal(bob.delete(f"{house.documents}/{house.id}"), 404)
    assert ada.delete(_users(house, bob)).status_code == 204
    refusal(bob.get(house.documents), 404)


def test_only_owners_make_and_unmake_owners(
    cast: Cast, house: House, ada: Person, bob: Person
) -> None:
    for attempt in (
        ada.patch(_users(house, bob), json={"role": "owner"}),
        ada.patch(_users(house, ada), json={"role": "owner"}),
        ada.patch(_users(house, cast.alice), json={"role": "viewer"}),
        ada.delete(_users(house, cast.alice)),
    ):
        refusal(attempt, 403, "owners_only")
    assert cast.alice.patch(_users(house, ada), json={"role": "owner"}).status_code == 200
    assert ada.delete(_users(house, cast.alice)).status_code == 204


def test_the_last_owner_stays(cast: Cast, house: House) -> None:
    refusal(cast.alice.patch(_users(house, cast.alice), json={"role": "admin"}), 409, "last_owner")
    refusal(cast.alice.delete(_users(house, cast.alice)), 409, "last_owner")
    assert cast.alice.patch(_users(house, cast.alice), json={"role": "owner"}).status_code == 200


def test_two_owners_cannot_remove_each_other_at_once(cast: Cast, house: House, ada: Person) -> None:
    cast.alice.patch(_users(house, ada), json={"role": "owner"})
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(
                lambda pair: pair[0].patch(_users(house, pair[1]), json={"role": "viewer"}),
                [(cast.alice, ada), (ada, cast.alice)],
            )
        )
    assert min(answer.status_code for answer in answers) == 200
    owners = [_role(cast.alice, house, each) for each in (cast.alice, ada)].count("owner")
    assert owners == 1


@pytest.mark.parametrize("role", ["", "root", "Owner", None, 1, ["owner"]])
def test_what_is_no_role_is_refused(cast: Cast, house: House, bob: Person, role: object) -> None:
    refusal(cast.alice.patch(_users(house, bob), json={"role": role}), 422)


def test_members_come_in_pages(cast: Cast, house: House, ada: Person, bob: Person) -> None:
    seen, cursor = [], ""
    for _ in range(4):
        page = cast.alice.get(_users(house) + f"?limit=1{cursor}").get_json()
        seen += [each["user_id"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(seen) == sorted(str(each.user_id) for each in (cast.alice, ada, bob))


def test_the_table_of_roles_is_shown(cast: Cast) -> None:
    roles = cast.bob.get(f"/api/tenants/{cast.acme.id}/roles").get_json()["roles"]
    assert roles["viewer"] == ["documents:read", "events:read", "members:read", "tenants:read"]
    assert set(roles["viewer"]) < set(roles["user"]) < set(roles["admin"]) < set(roles["owner"])


def test_an_inactive_member_is_a_stranger_from_the_next_request_on(
    cast: Cast, house: House, ada: Person, bob: Person
) -> None:
    assert bob.get(house.documents).status_code == 200
    shut = ada.patch(_users(house, bob), json={"active": False}).get_json()
    assert (shut["active"], shut["role"]) == (False, "viewer")
    refusal(bob.get(house.documents), 404, "not_found")
    refusal(bob.get(f"/api/tenants/{house.id}"), 404, "not_found")
    assert str(house.id) not in bob.get("/api/tenants").text
    listed = {each["user_id"]: each for each in ada.get(_users(house)).get_json()["items"]}
    assert listed[str(bob.user_id)]["active"] is False
    assert ada.patch(_users(house, bob), json={"active": True}).get_json()["active"] is True
    assert bob.get(house.documents).status_code == 200


def test_an_inactive_owner_does_not_count(cast: Cast, house: House, ada: Person) -> None:
    refusal(cast.alice.patch(_users(house, cast.alice), json={"active": False}), 409, "last_owner")
    cast.alice.patch(_users(house, ada), json={"role": "owner"})
    assert cast.alice.patch(_users(house, ada), json={"active": False}).status_code == 200
    refusal(cast.alice.patch(_users(house, cast.alice), json={"active": False}), 409, "last_owner")
    refusal(cast.alice.delete(_users(house, cast.alice)), 409, "last_owner")
    assert cast.alice.delete(_users(house, ada)).status_code == 204


def test_only_owners_make_owners_inactive(cast: Cast, house: House, ada: Person) -> None:
    refusal(ada.patch(_users(house, cast.alice), json={"active": False}), 403, "owners_only")


@pytest.mark.parametrize(
    "body", [{}, {"active": None}, {"active": "false"}, {"active": "yes"}, {"active": 2}]
)
def test_what_changes_nothing_is_refused(
    cast: Cast, house: House, bob: Person, body: object
) -> None:
    refusal(cast.alice.patch(_users(house, bob), json=body), 422)


def test_changes_are_told_to_the_trail(cast: Cast, house: House, bob: Person) -> None:
    cast.alice.patch(_users(house, bob), json={"role": "user", "active": False})
    cast.alice.patch(_users(house, bob), json={"role": "user", "active": True})
    cast.alice.delete(_users(house, bob))
    told = [
        (entry.type, entry.details["tenant_id"], entry.user_id)
        for entry in trail(house.id)
        if entry.target == str(bob.user_id)
    ]
    assert told == [
        (kind, str(house.id), cast.alice.user_id)
        for kind in (
            "user.role_changed",
            "member.deactivated",
            "member.reactivated",
            "member.removed",
        )
    ]
