"""Lists: what is found, in which order, and how pages follow each other."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import update

from app.domains.documents.models import Document
from app.tenancy.manager import current_manager
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.documents.files import upload

# name, content type, size, who, tags; uploaded in this order.
SHELF: list[tuple[str, str, int, str, list[str]]] = [
    ("Straße.TXT", "text/plain", 3, "ursula", ["plan"]),
    ("100%_sure.txt", "text/plain", 1, "alice", ["plan", "2026"]),
    ("photo.png", "image/png", 9, "alice", ["2026"]),
    ("Photo (2).JPG", "image/jpeg", 4, "ursula", ["plan", "2026", "secret"]),
    ("日本の計画.pdf", "application/pdf", 4, "ursula", []),
    ("it's a 'quoted' name & more | :*", "application/x_y", 2, "alice", []),
]


@pytest.fixture(scope="module")
def people(app: Flask) -> dict[str, Person]:
    with app.app_context():
        return {name: new_person(app, name.title()) for name in ("alice", "ursula")}


@pytest.fixture(scope="module")
def house(app: Flask, people: dict[str, Person]) -> House:
    with app.app_context():
        house = new_house("shelf", people["alice"], user=people["ursula"])
    for name, content_type, size, who, tags in SHELF:
        made = upload(people[who], house, b"x" * size, name, content_type)
        if tags:
            path = f"{house.documents}/{made['id']}"
            assert people[who].patch(path, json={"tags": tags}).status_code == 200
    return house


@pytest.fixture
def alice(people: dict[str, Person]) -> Person:
    return people["alice"]


def names(person: Person, house: House, query: object = None) -> list[str]:
    answer = person.get(house.documents, query_string=query)
    assert answer.status_code == 200, answer.text
    return [each["name"] for each in answer.get_json()["items"]]


def stored_name(number: int) -> str:
    return SHELF[number][0]


def test_mallory_finds_nothing_whatever_she_asks_for(cast: Cast, house: House) -> None:
    for query in ("name=photo", "tag=plan", "sort=size"):
        refusal(cast.mallory.get(f"{house.documents}?{query}"), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name=photo", [2, 3]),
        ("name=PHOTO", [2, 3]),
        ("name=hoto.p", [2]),
        ("name=strasse", [0]),
        ("name=STRASSE.t", [0]),
        ("name=%E6%97%A5", [4]),
        ("name=%E8%A8%88%E7%94%BB.", [4]),
        ("name=%25_s", [1]),
        ("name=%25", [1]),
        ("name=_", [1]),
        ("name=t", [0, 1, 2, 3, 5]),
        ("name=xt", [0, 1]),
        ("name=nothing+like+it", []),
        ("name=%5C", []),
        ("name=%5C%27", []),
        ("name=:*", [5]),
        ("name=e+%26+m", [5]),
        ("name=zz", []),
        ("content_type=image/png", [2]),
        ("content_type=IMAGE/*", [2, 3]),
        ("content_type=application/x_y", [5]),
        ("content_type=applicationnn/*", []),
        ("tag=plan", [0, 1, 3]),
        ("tag=PLAN&tag=2026", [1, 3]),
        ("tag=plan&tag=2026&tag=secret", [3]),
        ("tag=unknown", []),
        ("tag=plan&content_type=text/*&name=s", [0, 1]),
    ],
)
def test_filters(alice: Person, house: House, query: str, found: list[int]) -> None:
    expected = {stored_name(number) for number in found}
    assert set(names(alice, house, query)) == expected
    assert len(names(alice, house, query)) == len(found)


def test_a_name_with_everything_that_quotes(alice: Person, house: House) -> None:
    whole = stored_name(5)
    for size in (1, 2, 3, 4, len(whole)):
        for start in range(len(whole) - size + 1):
            piece = whole[start : start + size]
            if piece.strip() == piece:
                assert whole in names(alice, house, {"name": piece}), piece


def test_of_one_owner(alice: Person, people: dict[str, Person], house: House) -> None:
    found = names(alice, house, {"owner_id": str(people["ursula"].user_id)})
    assert set(found) == {stored_name(0), stored_name(3), stored_name(4)}
    assert names(alice, house, {"owner_id": str(uuid4())}) == []


def test_of_a_time(alice: Person, house: House) -> None:
    items = alice.get(house.documents, query_string="order=asc").get_json()["items"]
    third = items[2]["created_at"]
    later = {"created_from": third, "order": "asc"}
    assert names(alice, house, later) == [each["name"] for each in items[2:]]
    assert len(names(alice, house, {"created_to": third})) == 2
    after = (datetime.fromisoformat(third) + timedelta(microseconds=1)).isoformat()
    assert names(alice, house, {"created_from": third, "created_to": after}) == [items[2]["name"]]


ORDERS = {
    "sort=created": [5, 4, 3, 2, 1, 0],
    "sort=created&order=asc": [0, 1, 2, 3, 4, 5],
    "sort=name": [5, 1, 3, 2, 0, 4],
    "sort=size&order=asc": [1, 5, 0, 3, 4, 2],
}


@pytest.mark.parametrize("query", ORDERS)
def test_orders(alice: Person, house: House, query: str) -> None:
    expected = [stored_name(number) for number in ORDERS[query]]
    found = names(alice, house, query)
    if "size" in query:  # of equals the id decides, and ids are made in order
        assert found == expected
    elif "name" in query:
        assert found == sorted(expected, key=str.casefold)
    else:
        assert found == expected


@pytest.mark.parametrize("sort", ["created", "name", "size", "updated"])
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("extra", ["", "&tag=plan", "&name=o&content_type=image/*"])
def test_pages_are_the_whole_in_pieces(
    *, alice: Person, house: House, sort: str, order: str, extra: str
) -> None:
    base = f"sort={sort}&order={order}{extra}"
    whole, pages = names(alice, house, base), list[str]()
    cursor: str | None = ""
    while cursor is not None:
        answer = alice.get(f"{house.documents}?{base}&limit=1{cursor}").get_json()
        pages += [each["name"] for each in answer["items"]]
        more: str | None = answer["next_cursor"]
        cursor = more and f"&cursor={more}"
    assert pages == whole


def test_equals_are_told_apart_by_their_ids(context: Flask, alice: Person) -> None:
    house = new_house("equals", alice)
    for number in range(5):
        upload(alice, house, str(number).encode(), "same.txt")
    with current_manager().tenant_db_session(house.database) as session:
        first = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
        session.execute(update(Document).values(created_at=first, updated_at=first))
    for sort in ("created", "name", "size", "updated"):
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            query = f"sort={sort}&limit=2" + (f"&cursor={cursor}" if cursor else "")
            page = alice.get(f"{house.documents}?{query}").get_json()
            seen += [each["id"] for each in page["items"]]
            cursor = page["next_cursor"]
        assert sorted(seen) == sorted(set(seen))
        assert len(seen) == 5


def test_a_cursor_belongs_to_its_query(alice: Person, house: House) -> None:
    query = "sort=name&tag=plan&limit=1"
    cursor = alice.get(f"{house.documents}?{query}").get_json()["next_cursor"]
    assert alice.get(f"{house.documents}?{query}&cursor={cursor}").status_code == 200
    other_limit = f"sort=name&tag=plan&limit=50&order=asc&cursor={cursor}"
    assert alice.get(f"{house.documents}?{other_limit}").status_code == 200
    for other in ("sort=name&tag=plan&order=desc", "sort=created&tag=plan", "sort=name",
                  "sort=name&tag=plan&tag=2026", "sort=name&tag=plan&name=o"):  # fmt: skip
        problem = refusal(alice.get(f"{house.documents}?{other}&cursor={cursor}"), 422)
        assert set(problem["errors"]) == {"cursor"}
    refusal(alice.get(f"{house.documents}/trash?cursor={cursor}"), 422)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("sort=colour", "sort"),
        ("order=up", "order"),
        ("name=", "name"),
        ("name=" + "x" * 256, "name"),
        ("content_type=image", "content_type"),
        ("content_type=*/*", "content_type"),
        ("content_type=image/p*", "content_type"),
        ("owner_id=me", "owner_id"),
        ("created_from=yesterday", "created_from"),
        ("created_to=2026-01-01T00:00:00", "created_to"),
        ("tag=", "tag"),
        ("&".join(["tag=x"] * 21), "tag"),
    ],
)
def test_what_cannot_be_asked(alice: Person, house: House, query: str, field: str) -> None:
    problem = refusal(alice.get(f"{house.documents}?{query}"), 422)
    assert set(problem["errors"]) == {field}


def test_the_whole_row(cast: Cast, alice: Person, house: House) -> None:
    for item in alice.get(house.documents).get_json()["items"]:
        one: dict[str, Any] = alice.get(f"{house.documents}/{UUID(item['id'])}").get_json()
        assert item == one | {"snippet": None}
