"""What a platform administrator may do with a tenant, and what not."""

import pytest
from flask import Flask

from tests.cast import Cast, House, new_house
from tests.core.answers import refusal
from tests.domains.documents.files import upload


@pytest.fixture
def house(context: Flask, cast: Cast) -> House:
    """A tenant of Alice's that may be suspended, with Bob as its viewer."""
    return new_house("initech", cast.alice, viewer=cast.bob)


def test_nobody_else_suspends(cast: Cast, house: House) -> None:
    for verb in ("suspend", "resume"):
        refusal(cast.mallory.post(f"/api/tenants/{house.id}/{verb}"), 404)
        refusal(cast.sam.post(f"/api/tenants/{house.id}/{verb}"), 404)
        refusal(cast.bob.post(f"/api/tenants/{house.id}/{verb}"), 403)
        refusal(cast.alice.post(f"/api/tenants/{house.id}/{verb}"), 403)


def test_petra_is_a_stranger_to_its_data(cast: Cast, house: House) -> None:
    document = upload(cast.alice, house)["id"]
    for path in ("", f"/{document}", f"/{document}/download", f"/{document}/download-url"):
        refusal(cast.petra.get(house.documents + path), 404)
    refusal(cast.petra.delete(f"{house.documents}/{document}"), 404)
    refusal(cast.petra.get(f"/api/tenants/{house.id}/users"), 404)


def test_petra_suspends_and_resumes(cast: Cast, house: House) -> None:
    path = f"/api/tenants/{house.id}"
    assert cast.petra.get(path).get_json()["role"] is None
    assert cast.petra.post(path + "/suspend").get_json()["state"] == "suspended"
    refusal(cast.bob.get(house.documents), 403, "tenant_suspended")
    assert cast.petra.get(path).get_json()["state"] == "suspended"
    assert cast.petra.post(path + "/suspend").status_code == 200  # twice is once
    assert cast.petra.post(path + "/resume").get_json()["state"] == "active"
    assert cast.bob.get(house.documents).status_code == 200
    refusal(cast.petra.post(path + "/resume"), 409, "wrong_tenant_state")


def test_a_tenant_is_renamed_by_its_owner_and_by_petra(cast: Cast, house: House) -> None:
    path = f"/api/tenants/{house.id}"
    for person, name in ((cast.alice, "Initech Ltd"), (cast.petra, "Initech Inc")):
        assert person.patch(path, json={"name": name}).get_json()["name"] == name
        assert cast.bob.get(path).get_json()["name"] == name
    refusal(cast.bob.patch(path, json={"name": "Bob's"}), 403)
    refusal(cast.mallory.patch(path, json={"name": "Mallory's"}), 404)
    refusal(cast.alice.patch(path, json={"slug": "other"}), 422)


def test_her_own_list_holds_only_tenants_that_she_is_a_member_of(cast: Cast, house: House) -> None:
    assert cast.petra.get("/api/tenants").get_json()["items"] == []
