"""Versions: new content keeps the old, which can be read and brought back."""

import io
from typing import Any

import pytest
from flask import Flask, current_app
from sqlalchemy import select
from werkzeug.test import TestResponse

from app.domains.documents.models import File
from app.domains.documents.service import files
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere
from tests.domains.documents.files import delete_for_good, stored, upload
from tests.domains.documents.trail import told


@pytest.fixture
def owner(context: Flask) -> Person:
    return new_person(context, "Alice")


@pytest.fixture
def house(context: Flask, owner: Person) -> House:
    return new_house("versions", owner)


def add(
    person: Person, path: str, content: bytes, headers: dict[str, str] | None = None
) -> TestResponse:
    form = {"file": (io.BytesIO(content), "other.md", "text/markdown")}
    return person.post(f"{path}/versions", data=form, headers=headers or {})


def numbers(person: Person, path: str) -> list[int]:
    items: list[dict[str, Any]] = person.get(f"{path}/versions").get_json()["items"]
    return [each["number"] for each in items]


def erase(house: House) -> int:
    """What the jobs would do."""
    with current_manager().tenant_db_session(house.database) as session:
        given_up = session.scalars(select(File.id).where(File.state == "deleting")).all()
    erased = 0
    for file_id in given_up:
        with current_manager().tenant_db_session(house.database) as session:
            storage = current_app.extensions["storage"]
            erased += files.erase_file(session, storage, file_id=file_id)
    return erased


def test_mallory_bob_and_ursula(cast: Cast) -> None:
    path = f"{cast.acme.documents}/{upload(cast.alice, cast.acme)['id']}"
    refusal(add(cast.mallory, path, b"x"), 404, "not_found")
    refusal(cast.mallory.get(f"{path}/versions"), 404, "not_found")
    refusal(cast.mallory.get(f"{path}/versions/1/download"), 404, "not_found")
    refusal(add(cast.bob, path, b"x"), 403, "forbidden")
    refusal(add(cast.ursula, path, b"x"), 403, "not_your_document")
    refusal(cast.ursula.post(f"{path}/versions/1/restore"), 403, "not_your_document")
    assert cast.bob.get(f"{path}/versions/1/download").data == b"plans"
    assert add(cast.ada, path, b"x").status_code == 201


def test_new_content_keeps_the_old(app: Flask, owner: Person, house: House) -> None:
    before = upload(owner, house)
    path = f"{house.documents}/{before['id']}"
    after = add(owner, path, b"newer plans").get_json()
    assert (after["name"], after["content_type"]) == ("plans.txt", "text/markdown")
    assert (after["version"], after["size"], after["id"]) == (2, 11, before["id"])
    assert after["revision"] > before["revision"]
    assert owner.get(f"{path}/download").data == b"newer plans"
    for number, content in ((1, b"plans"), (2, b"newer plans")):
        answer = owner.get(f"{path}/versions/{number}/download")
        assert (answer.status_code, answer.data) == (200, content)
    assert owner.get(f"{path}/versions/1/download").mimetype == "text/plain"
    first, second = reversed(owner.get(f"{path}/versions").get_json()["items"])
    assert (first["number"], first["size"], first["digest"]) == (1, 5, before["digest"])
    assert (second["number"], second["created_by"]) == (2, str(owner.user_id))
    kinds = [kind for kind, _ in told(app, house, before["id"])]
    assert kinds[:2] == ["document.uploaded", "document.version_added"]
    assert kinds.count("document.downloaded") == 4


def test_a_former_version_becomes_the_newest_again(
    app: Flask, owner: Person, house: House, settings: Settings
) -> None:
    made = upload(owner, house)
    path = f"{house.documents}/{made['id']}"
    add(owner, path, b"newer plans")
    back = owner.post(f"{path}/versions/1/restore").get_json()
    assert (back["version"], back["digest"]) == (3, made["digest"])
    assert back["content_type"] == "text/plain"
    assert owner.get(f"{path}/download").data == b"plans"
    assert numbers(owner, path) == [3, 2, 1]
    assert len(stored(settings, house)) == 2, "the same bytes are stored once"
    _, details = told(app, house, made["id"])[2]
    assert (details["version"], details["restored_from"]) == (3, 1)


@pytest.mark.parametrize("number", ["0", "2", "99999999"])
def test_a_version_that_is_not_there(cast: Cast, number: str) -> None:
    path = f"{cast.acme.documents}/{upload(cast.alice, cast.acme)['id']}/versions/{number}"
    refusal(cast.alice.get(path + "/download"), 404, "version_not_found")
    refusal(cast.alice.post(path + "/restore"), 404, "version_not_found")


def test_a_number_larger_than_the_database_counts(cast: Cast) -> None:
    path = f"{cast.acme.documents}/{upload(cast.alice, cast.acme)['id']}/versions/{2**40}"
    refusal(cast.alice.get(path + "/download"), 404)


def test_on_another_revision_nothing_is_received(owner: Person, house: House) -> None:
    path = f"{house.documents}/{upload(owner, house)['id']}"
    refusal(add(owner, path, b"x", {"If-Match": '"7"'}), 412, "precondition_failed")
    assert add(owner, path, b"x", {"If-Match": '"1"'}).status_code == 201
    stale = {"If-Match": '"1"'}
    refusal(owner.post(f"{path}/versions/1/restore", headers=stale), 412)
    assert numbers(owner, path) == [2, 1]


def test_pages_of_versions(owner: Person, house: House) -> None:
    path = f"{house.documents}/{upload(owner, house)['id']}"
    for number in range(2, 5):
        add(owner, path, str(number).encode())
    first = owner.get(f"{path}/versions?limit=3").get_json()
    rest = owner.get(f"{path}/versions?limit=3&cursor={first['next_cursor']}").get_json()
    assert [each["number"] for each in first["items"] + rest["items"]] == [4, 3, 2, 1]
    other = f"{house.documents}/{upload(owner, house)['id']}"
    refusal(owner.get(f"{other}/versions?cursor={first['next_cursor']}"), 422)


def test_the_oldest_go(settings: Settings, owner: Person, house: House) -> None:
    with another_app(settings, max_versions=3) as app, app.app_context():
        there = elsewhere(owner, app)
        path = f"{house.documents}/{upload(there, house, b'1')['id']}"
        for number in range(2, 6):
            assert add(there, path, str(number).encode()).status_code == 201
        assert numbers(there, path) == [5, 4, 3]
        refusal(there.get(f"{path}/versions/2/download"), 404, "version_not_found")
        assert erase(house) == 2
        assert len(stored(settings, house)) == 3
        assert there.post(f"{path}/versions/3/restore").get_json()["version"] == 6
        assert numbers(there, path) == [6, 5, 4]
        assert erase(house) == 0, "version 6 holds what 3 held"


def test_a_purged_document_takes_its_versions_along(
    context: Flask, settings: Settings, owner: Person, house: House
) -> None:
    made = upload(owner, house, b"1")
    shared = upload(owner, house, b"2")
    path = f"{house.documents}/{made['id']}"
    for content in (b"2", b"3"):
        add(owner, path, content)
    erase(house)
    assert len(stored(settings, house)) == 3
    assert delete_for_good(owner, house, made["id"]) == 204
    assert erase(house) == 2
    assert len(stored(settings, house)) == 1
    assert owner.get(f"{house.documents}/{shared['id']}/download").data == b"2"
