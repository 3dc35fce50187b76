"""What the platform's administrators see of all tenants, and nobody else."""

import pytest
from flask import Flask

from app.core.db import main_session
from app.core.pages import current_cursors
from app.domains.tenants.service import deletion, directory
from app.integrations.storage import current_storage
from app.tenancy.manager import current_manager
from tests.cast import Cast, House, Person, new_house
from tests.core.answers import refusal

ALL = "/api/admin/tenants"


@pytest.fixture
def house(context: Flask, cast: Cast) -> House:
    return new_house("initech", cast.alice, viewer=cast.bob)


def listed(petra: Person, **query: object) -> dict[str, dict[str, object]]:
    """Every page of the list, by the tenants' ids."""
    found: dict[str, dict[str, object]] = {}
    while True:
        page = petra.get(ALL, query_string=query | {"limit": 200}).get_json()
        found |= {each["id"]: each for each in page["items"]}
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


def test_nobody_else_sees_them(app: Flask, cast: Cast) -> None:
    for person in (cast.mallory, cast.sam, cast.bob, cast.alice):
        refusal(person.get(ALL), 403, "forbidden")
    refusal(app.test_client().get(ALL), 401)


def test_the_list_is_of_every_tenant(cast: Cast, house: House) -> None:
    found = listed(cast.petra)
    assert {str(cast.acme.id), str(cast.globex.id), str(house.id)} <= found.keys()
    assert found[str(cast.acme.id)]["role"] is None
    assert "database" not in found[str(cast.acme.id)]


def test_pages_hold_each_once(cast: Cast, house: House) -> None:
    seen: list[str] = []
    query: dict[str, object] = {"limit": 1}
    while len(seen) < 3:
        page = cast.petra.get(ALL, query_string=query).get_json()
        seen += [each["id"] for each in page["items"]]
        query["cursor"] = page["next_cursor"]
    assert len(set(seen)) == len(seen) == 3
    assert seen == sorted(seen)


def test_filtered_by_state(cast: Cast, house: House) -> None:
    suspended = cast.petra.post(f"/api/tenants/{house.id}/suspend", json={"reason": "unpaid"})
    assert suspended.get_json()["suspension_reason"] == "unpaid"
    assert str(house.id) in listed(cast.petra, state="suspended")
    assert str(house.id) not in listed(cast.petra, state="active")
    refusal(cast.petra.get(ALL, query_string={"state": "unknown"}), 422)
    refusal(cast.petra.get(ALL, query_string={"state": ""}), 422)


def test_what_is_left_of_a_purged_tenant(cast: Cast, house: House) -> None:
    deletion.purge(current_manager(), current_storage(), tenant_id=house.id)
    row = listed(cast.petra, state="purged")[str(house.id)]
    assert (row["slug"], row["active"]) == (house.slug, False)
    refusal(cast.petra.get(f"/api/tenants/{house.id}"), 404)
    refusal(cast.petra.post(f"/api/tenants/{house.id}/restore"), 404)


def test_petra_deletes_and_restores_and_stays_a_stranger(cast: Cast, house: House) -> None:
    path = f"/api/tenants/{house.id}"
    deleted = cast.petra.delete(path, query_string={"confirm": house.slug})
    assert deleted.get_json()["state"] == "deleted"
    assert str(house.id) in listed(cast.petra, state="deleted")
    refusal(cast.petra.get(house.documents), 404)
    assert cast.petra.post(path + "/restore").get_json()["state"] == "active"
    refusal(cast.petra.get(house.documents), 404)


def test_only_owners_are_told_why_they_are_suspended(cast: Cast, house: House) -> None:
    path = f"/api/tenants/{house.id}"
    cast.petra.post(path + "/suspend", json={"reason": "The invoice of May is open."})
    assert cast.alice.get(path).get_json()["suspension_reason"] == "The invoice of May is open."
    assert cast.bob.get(path).get_json()["suspension_reason"] is None
    assert cast.petra.post(path + "/resume").get_json()["suspension_reason"] is None


@pytest.mark.parametrize("body", [{"reason": ""}, {"reason": 7}, {"why": "x"}, []])
def test_a_reason_that_is_none(cast: Cast, house: House, body: object) -> None:
    refusal(cast.petra.post(f"/api/tenants/{house.id}/suspend", json=body), 422)
    assert cast.bob.get(house.documents).status_code == 200


def test_a_reason_is_not_lost_silently(cast: Cast, house: House) -> None:
    """A body of another kind is refused, and none at all is no reason."""
    path = f"/api/tenants/{house.id}/suspend"
    refusal(cast.petra.post(path, data="unpaid"), 415)
    refusal(cast.petra.post(path, data="unpaid", content_type="text/plain"), 415)
    assert cast.petra.post(path).get_json()["suspension_reason"] is None


def test_row_level_security_shows_all_to_the_platforms_administrators_alone(
    context: Flask, cast: Cast, house: House
) -> None:
    for person, sees in ((cast.petra, True), (cast.sam, False), (cast.mallory, False)):
        with main_session(user_id=person.user_id) as session:
            page = directory.all_tenants(
                session,
                user_id=person.user_id,
                state=None,
                cursors=current_cursors(),
                cursor=None,
                limit=200,
            )
        assert (cast.acme.id in {each.id for each in page.items}) == sees
