"""Many at once: each has its own outcome, and one failure undoes nothing of the others."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from flask import Flask

from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.documents.files import upload
from tests.domains.documents.trail import told


@pytest.fixture
def owner(context: Flask) -> Person:
    return new_person(context, "Alice")


@pytest.fixture
def ursula(context: Flask) -> Person:
    return new_person(context, "Ursula")


@pytest.fixture
def house(context: Flask, owner: Person, ursula: Person) -> House:
    return new_house("bulk", owner, user=ursula)


def act(person: Person, house: House, action: str, ids: list[str], **more: object) -> list[object]:
    body = {"action": action, "ids": ids} | more
    answer = person.post(f"{house.documents}/bulk", json=body)
    assert answer.status_code == 200, answer.text
    results = answer.get_json()["results"]
    assert [each["id"] for each in results] == ids
    return [each["code"] or each["status"] for each in results]


def test_mallory_and_bob_do_nothing(cast: Cast) -> None:
    made = upload(cast.alice, cast.acme)["id"]
    body = {"action": "delete", "ids": [made]}
    refusal(cast.mallory.post(f"{cast.acme.documents}/bulk", json=body), 404, "not_found")
    refusal(cast.bob.post(f"{cast.acme.documents}/bulk", json=body), 403)
    assert cast.bob.get(f"{cast.acme.documents}/{made}").status_code == 200


def test_each_has_its_own_outcome(app: Flask, owner: Person, ursula: Person, house: House) -> None:
    hers, his, gone = upload(ursula, house)["id"], upload(owner, house)["id"], str(uuid4())
    assert act(ursula, house, "delete", [his, hers, gone]) == [
        "not_your_document",
        204,
        "document_not_found",
    ]
    assert act(owner, house, "delete", [his, hers]) == [204, "document_not_found"]
    assert act(ursula, house, "restore", [his, hers]) == ["not_your_document", 200]
    assert act(owner, house, "purge", [hers, his]) == ["document_not_found", 204]
    assert [kind for kind, _ in told(app, house, hers)] == [
        "document.uploaded",
        "document.deleted",
        "document.restored",
    ]


def test_tags(owner: Person, house: House) -> None:
    ids = [upload(owner, house)["id"] for _ in range(3)]
    assert act(owner, house, "tag", ids, tags=["Plan", "x"]) == [200, 200, 200]
    assert act(owner, house, "untag", ids[1:], tags=["X"]) == [200, 200]
    tags = [owner.get(f"{house.documents}/{each}").get_json()["tags"] for each in ids]
    assert tags == [["plan", "x"], ["plan"], ["plan"]]


def test_too_many_tags_fail_alone(owner: Person, house: House) -> None:
    full, free = (upload(owner, house)["id"] for _ in range(2))
    many = [str(number) for number in range(50)]
    owner.patch(f"{house.documents}/{full}", json={"tags": many})
    assert act(owner, house, "tag", [full, free], tags=["new"]) == ["bad_tags", 200]


def test_a_hundred_and_no_more(owner: Person, house: House) -> None:
    ids = [str(uuid4()) for _ in range(100)]
    assert act(owner, house, "purge", ids) == ["document_not_found"] * 100
    body = {"action": "purge", "ids": [*ids, str(uuid4())]}
    refusal(owner.post(f"{house.documents}/bulk", json=body), 422)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"action": "erase"}, "action"),
        ({"ids": []}, "ids"),
        ({"ids": ["me"]}, "ids"),
        ({"ids": [str(uuid4())] * 2, "action": "delete"}, "ids"),
        ({"action": "tag"}, "tags"),
        ({"tags": ["x"]}, "tags"),
        ({"action": "tag", "tags": [""]}, "tags"),
    ],
)
def test_what_is_refused_as_a_whole(
    owner: Person, house: House, body: dict[str, object], field: str
) -> None:
    given = {"action": "delete", "ids": [str(uuid4())]} | body
    problem = refusal(owner.post(f"{house.documents}/bulk", json=given), 422)
    assert set(problem["errors"]) == {field}


def test_two_at_once_do_not_wait_for_each_other(owner: Person, house: House) -> None:
    ids = [upload(owner, house, str(number).encode())["id"] for number in range(6)]
    for action in ("delete", "restore", "delete", "purge"):
        orders = (ids, ids[::-1], ids[3:] + ids[:3])
        with ThreadPoolExecutor(3) as pool:
            done = list(pool.map(lambda each, a=action: act(owner, house, a, each), orders))
        outcomes = [outcome for one in done for outcome in one]
        assert sum(outcome in {200, 204} for outcome in outcomes) == 6
        assert sum(outcome == "document_not_found" for outcome in outcomes) == 12
