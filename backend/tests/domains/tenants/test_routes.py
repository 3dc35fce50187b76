"""Tenants over HTTP, beginning with the outsider."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask

from app.core.pages import current_cursors
from app.domains.tenants import schemas
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.access.ledger import change_tenant
from tests.domains.documents.files import upload


def slug(name: str = "new") -> str:
    return f"{name}-{uuid4().hex[:8]}"


def create(person: Person, **fields: Any) -> Any:
    return person.post("/api/tenants", json={"name": "New", "slug": slug()} | fields)


@pytest.fixture
def person(context: Flask) -> Person:
    return new_person(context, "Alice")


def test_mallory_sees_nothing_of_acme(cast: Cast) -> None:
    tenant = f"/api/tenants/{cast.acme.id}"
    refusal(cast.mallory.get(tenant), 404, "not_found")
    refusal(cast.mallory.post(tenant + "/retry"), 404, "not_found")
    listed = cast.mallory.get("/api/tenants").get_json()["items"]
    assert [item["id"] for item in listed] == [str(cast.globex.id)]


def test_a_tenant_looks_to_a_stranger_as_one_that_does_not_exist(cast: Cast) -> None:
    answers = [
        cast.mallory.get(f"/api/tenants/{tenant}").get_json() | {"request_id": ""}
        for tenant in (cast.acme.id, uuid4())
    ]
    assert answers[0] == answers[1]


def test_nobody_signed_in_gets_none(app: Flask, cast: Cast) -> None:
    client = app.test_client()
    refusal(client.get("/api/tenants"), 401)
    refusal(client.get(f"/api/tenants/{cast.acme.id}"), 401)
    refusal(client.post("/api/tenants", json={"name": "New", "slug": slug()}), 401)


def test_members_see_their_tenant_and_their_own_role(cast: Cast) -> None:
    for person, role in (
        (cast.alice, "owner"),
        (cast.ada, "admin"),
        (cast.ursula, "user"),
        (cast.bob, "viewer"),
    ):
        tenant = person.get(f"/api/tenants/{cast.acme.id}").get_json()
        assert (tenant["slug"], tenant["role"]) == (cast.acme.slug, role)
        assert tenant in person.get("/api/tenants").get_json()["items"]


def test_who_creates_a_tenant_owns_it_and_can_work_at_once(person: Person) -> None:
    wanted = slug()
    answer = create(person, name="Näme & Söhne", slug=wanted)
    assert answer.status_code == 201, answer.text
    tenant = answer.get_json()
    assert set(tenant) == set(schemas.Tenant().fields)
    assert answer.headers["Location"] == f"/api/tenants/{tenant['id']}"
    assert (tenant["slug"], tenant["name"]) == (wanted, "Näme & Söhne")
    assert (tenant["state"], tenant["role"], tenant["failure"]) == ("active", "owner", None)
    assert person.get(f"/api/tenants/{tenant['id']}").get_json() == tenant
    house = House(UUID(tenant["id"]), wanted, "")
    assert upload(person, house)["size"] == 5


def test_the_answer_tells_nothing_of_the_database(person: Person) -> None:
    answer = create(person)
    for word in ("database", "server", "credentials", "password", "tenant_new"):
        assert word not in answer.text


def test_a_slug_is_taken_once(cast: Cast, person: Person) -> None:
    refusal(create(person, slug=cast.acme.slug), 409, "slug_taken")
    assert person.get("/api/tenants").get_json()["items"] == []


def test_eight_wish_for_the_same_slug_at_once(person: Person) -> None:
    wanted = slug()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: create(person, slug=wanted), range(8), timeout=60))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


@pytest.mark.parametrize("wanted", ["a", "0", "a-b", "a--b", "x" * 63, "123"])
def test_a_slug_is_a_dns_label(person: Person, wanted: str) -> None:
    """Checked without making a database: the slug is free, and the name is wrong."""
    problem = refusal(create(person, slug=wanted, name=""), 422)
    assert set(problem["errors"]) == {"name"}


@pytest.mark.parametrize(
    "wanted",
    ["", "-", "-a", "a-", "A", "ä", "a_b", "a.b", "a b", "x" * 64, "a\n", "a;--", "日本", "a/b",
     "%61", "../a", "www", "api", "xn--bcher-kva"],
)  # fmt: skip
def test_a_slug_that_is_none(person: Person, wanted: str) -> None:
    problem = refusal(create(person, slug=wanted), 422)
    assert set(problem["errors"]) == {"slug"}


@pytest.mark.parametrize("name", ["", "x" * 201, 7, None, ["New"], True, {}])
def test_a_name_that_is_none(person: Person, name: object) -> None:
    problem = refusal(create(person, name=name), 422)
    assert set(problem["errors"]) == {"name"}


def test_what_is_ours_to_say_cannot_be_given(person: Person, cast: Cast) -> None:
    for field in ("id", "state", "role", "owner_id", "database", "failure", "limit"):
        problem = refusal(create(person, **{field: str(cast.acme.id)}), 422)
        assert set(problem["errors"]) == {field}


def test_a_retry_of_a_tenant_that_needs_none(cast: Cast) -> None:
    tenant = f"/api/tenants/{cast.acme.id}/retry"
    refusal(cast.bob.post(tenant), 403)
    refusal(cast.ada.post(tenant), 403)
    refusal(cast.alice.post(tenant), 409, "wrong_tenant_state")


def test_a_retry_finishes_what_failed(context: Flask, person: Person) -> None:
    house = new_house("retried", person)
    change_tenant(house.id, state="failed", failure="ServerUnavailable: it was away")
    seen = person.get(f"/api/tenants/{house.id}").get_json()
    assert (seen["state"], seen["failure"]) == ("failed", "ServerUnavailable: it was away")
    answer = person.post(f"/api/tenants/{house.id}/retry")
    assert answer.status_code == 200
    assert (answer.get_json()["state"], answer.get_json()["failure"]) == ("active", None)
    assert upload(person, house)["size"] == 5


def test_pages_of_tenants(context: Flask, person: Person) -> None:
    houses = [new_house("many", person) for _ in range(3)]
    first = person.get("/api/tenants", query_string={"limit": 2}).get_json()
    query = {"limit": 2, "cursor": first["next_cursor"]}
    second = person.get("/api/tenants", query_string=query).get_json()
    seen = [item["id"] for page in (first, second) for item in page["items"]]
    assert seen == [str(house.id) for house in houses]
    assert second["next_cursor"] is None
    forged = first["next_cursor"][:-2]
    refusal(person.get("/api/tenants", query_string={"cursor": forged}), 422)


def test_a_cursor_shows_no_tenant_of_others(context: Flask, cast: Cast) -> None:
    cursor = current_cursors().dump(UUID(int=0))
    listed = cast.mallory.get("/api/tenants", query_string={"cursor": cursor}).get_json()
    assert [item["id"] for item in listed["items"]] == [str(cast.globex.id)]
