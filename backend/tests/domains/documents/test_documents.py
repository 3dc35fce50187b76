"""Documents over HTTP, beginning with the outsider."""

from hashlib import sha256
from uuid import UUID, uuid4

import pytest
from flask import Flask

from app.core.pages import current_cursors
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.documents.files import send, upload


def test_mallory_sees_nothing_of_acme(cast: Cast) -> None:
    made = upload(cast.alice, cast.acme)
    for path in ("", f"/{made['id']}", f"/{made['id']}/download", f"/{made['id']}/download-url"):
        refusal(cast.mallory.get(cast.acme.documents + path), 404, "not_found")
        assert cast.bob.get(cast.acme.documents + path).status_code == 200


def test_mallory_can_neither_add_nor_delete(cast: Cast) -> None:
    made = upload(cast.alice, cast.acme)
    refusal(send(cast.mallory, cast.acme), 404, "not_found")
    refusal(cast.mallory.delete(f"{cast.acme.documents}/{made['id']}"), 404, "not_found")
    assert cast.alice.get(f"{cast.acme.documents}/{made['id']}").status_code == 200


def test_bob_reads_but_does_not_delete_and_alice_may(cast: Cast) -> None:
    one = f"{cast.acme.documents}/{upload(cast.alice, cast.acme)['id']}"
    assert cast.bob.get(one).status_code == 200
    refusal(cast.bob.delete(one), 403)
    assert cast.alice.delete(one).status_code == 204
    for path in (one, one + "/download", one + "/download-url"):
        refusal(cast.alice.get(path), 404, "document_not_found")
    refusal(cast.alice.delete(one), 404, "document_not_found")


def test_an_upload_tells_what_was_stored(cast: Cast) -> None:
    made = upload(cast.ursula, cast.acme, b"plans", "plans.md", "text/markdown; charset=utf-8")
    assert set(made) == {
        "id", "name", "content_type", "size", "digest", "owner_id", "tags", "version", "revision",
        "created_at", "updated_at", "processing", "processing_reason", "detected_type",
    }  # fmt: skip
    assert (made["name"], made["content_type"], made["size"]) == ("plans.md", "text/markdown", 5)
    assert made["digest"] == f"sha256:{sha256(b'plans').hexdigest()}"
    assert UUID(made["owner_id"]) == cast.ursula.user_id
    assert cast.bob.get(f"{cast.acme.documents}/{made['id']}").get_json() == made


def test_a_document_that_does_not_exist(cast: Cast) -> None:
    for name in (uuid4(), UUID(int=0)):
        refusal(cast.alice.get(f"{cast.acme.documents}/{name}"), 404, "document_not_found")
    refusal(cast.alice.get(f"{cast.acme.documents}/plans.txt"), 404, "not_found")


def test_an_empty_file_is_a_file(cast: Cast) -> None:
    made = upload(cast.alice, cast.acme, b"")
    assert made["size"] == 0
    answer = cast.bob.get(f"{cast.acme.documents}/{made['id']}/download")
    assert (answer.status_code, answer.data) == (200, b"")


@pytest.fixture(scope="module")
def owner(app: Flask) -> Person:
    with app.app_context():
        return new_person(app, "Alice")


@pytest.fixture(scope="module")
def house(app: Flask, owner: Person) -> House:
    """With seven documents, named 0 to 6 in the order of their upload."""
    with app.app_context():
        house = new_house("pages", owner)
    for number in range(7):
        upload(owner, house, str(number).encode(), str(number))
    return house


def test_pages_follow_each_other_newest_first(owner: Person, house: House) -> None:
    pages: list[list[str]] = []
    cursor = None
    while cursor is not None or not pages:
        query = {"limit": "3"} if cursor is None else {"limit": "3", "cursor": cursor}
        page = owner.get(house.documents, query_string=query).get_json()
        pages.append([document["name"] for document in page["items"]])
        cursor = page["next_cursor"]
    assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"]]


def test_a_page_does_not_move_when_documents_come_and_go(context: Flask, owner: Person) -> None:
    house = new_house("moving", owner)
    made = [upload(owner, house, name=str(number)) for number in range(4)]
    first = owner.get(house.documents, query_string={"limit": 2}).get_json()
    upload(owner, house, name="new")
    assert owner.delete(f"{house.documents}/{made[2]['id']}").status_code == 204  # the cursor's
    query = {"limit": 2, "cursor": first["next_cursor"]}
    second = owner.get(house.documents, query_string=query).get_json()
    assert [document["name"] for document in second["items"]] == ["1", "0"]
    assert second["next_cursor"] is None


def test_a_full_last_page_has_no_successor(owner: Person, house: House) -> None:
    page = owner.get(house.documents, query_string={"limit": 7}).get_json()
    assert len(page["items"]) == 7
    assert page["next_cursor"] is None


@pytest.mark.parametrize("limit", ["0", "-1", "201", "true", "null", "1.5", "9" * 5000, "", "ten"])
def test_a_limit_out_of_bounds(owner: Person, house: House, limit: str) -> None:
    problem = refusal(owner.get(house.documents, query_string={"limit": limit}), 422)
    assert set(problem["errors"]) == {"limit"}


def test_a_cursor_that_was_changed(owner: Person, house: House) -> None:
    cursor = owner.get(house.documents, query_string={"limit": 3}).get_json()["next_cursor"]
    for forged in (
        cursor[:-1],
        cursor + "A",
        cursor[::-1],
        "",
        "." * 9,
        "ÿ",
        str(uuid4()),
        "A" * 9000,
    ):
        problem = refusal(owner.get(house.documents, query_string={"cursor": forged}), 422)
        assert set(problem["errors"]) == {"cursor"}


def test_another_tenants_cursor_opens_nothing(cast: Cast, owner: Person, house: House) -> None:
    for path in ("", "/trash"):
        query = {"limit": 3}
        cursor = owner.get(house.documents, query_string=query).get_json()["next_cursor"]
        answer = cast.mallory.get(cast.globex.documents + path, query_string={"cursor": cursor})
        problem = refusal(answer, 422)
        assert set(problem["errors"]) == {"cursor"}


def test_a_cursor_of_a_list_by_ids_is_none_of_this(app: Flask, owner: Person, house: House) -> None:
    with app.app_context():
        cursor = current_cursors().dump(house.id)
    refusal(owner.get(house.documents, query_string={"cursor": cursor}), 422)


@pytest.mark.parametrize("query", ["limit=1&limit=2", "cursor=a&cursor=b"])
def test_an_argument_given_twice(owner: Person, house: House, query: str) -> None:
    refusal(owner.get(f"{house.documents}?{query}"), 400, "bad_request")


def test_an_unknown_argument(owner: Person, house: House) -> None:
    problem = refusal(owner.get(house.documents, query_string={"offset": "5"}), 422)
    assert set(problem["errors"]) == {"offset"}
