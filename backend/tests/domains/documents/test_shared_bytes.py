"""The same bytes are stored once in a tenant, and stay as long as a document names them."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar
from uuid import UUID

import pytest
from flask import Flask, current_app
from sqlalchemy import select

from app.domains.documents.models import Document, File
from app.domains.documents.service import files
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere
from tests.domains.documents.files import delete_for_good, send, stored, upload

Result = TypeVar("Result")


@pytest.fixture(scope="module")
def roomy(app: Flask, settings: Settings) -> Iterator[Flask]:
    """An instance in which eight requests of one tenant run at the same time."""
    with another_app(settings, tenant_connections_per_tenant=8) as roomy:
        yield roomy


@pytest.fixture
def owner(roomy: Flask) -> Person:
    with roomy.app_context():
        return new_person(roomy, "Alice")


@pytest.fixture
def house(roomy: Flask, owner: Person) -> House:
    with roomy.app_context():
        return new_house("shared", owner)


def at_once(*actions: Callable[[], Result]) -> list[Result]:
    start = Barrier(len(actions))

    def run(action: Callable[[], Result]) -> Result:
        start.wait(10)
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions, timeout=30))


def states(roomy: Flask, house: House) -> dict[UUID, str]:
    with roomy.app_context(), current_manager().tenant_db_session(house.database) as session:
        return {file.id: file.state for file in session.scalars(select(File))}


def erase_all(roomy: Flask, house: House) -> list[bool]:
    """What the jobs would do, for every file that is not arriving."""
    with roomy.app_context():
        storage, manager = current_app.extensions["storage"], current_manager()
        erased = []
        for file_id in [one for one, state in states(roomy, house).items() if state != "pending"]:
            with manager.tenant_db_session(house.database) as session:
                erased.append(files.erase_file(session, storage, file_id=file_id))
        return erased


def all_readable(owner: Person, house: House, content: bytes) -> int:
    """How many documents there are, each of which has to open these bytes."""
    documents = owner.get(house.documents).get_json()["items"]
    for document in documents:
        answer = owner.get(f"{house.documents}/{document['id']}/download")
        assert (answer.status_code, answer.data) == (200, content)
    return len(documents)


def test_another_tenant_shares_nothing(settings: Settings, cast: Cast) -> None:
    content = os.urandom(64)
    before = stored(settings, cast.globex)
    upload(cast.alice, cast.acme, content)
    hers = upload(cast.mallory, cast.globex, content)
    assert len(stored(settings, cast.globex) - before) == 1
    assert cast.mallory.delete(f"{cast.globex.documents}/{hers['id']}").status_code == 204
    assert all(path.exists() for path in stored(settings, cast.acme))


def test_the_same_bytes_are_stored_once(
    roomy: Flask, settings: Settings, owner: Person, house: House
) -> None:
    first = upload(owner, house, b"twice", "first.txt", "text/plain")
    second = upload(owner, house, b"twice", "second.md", "text/markdown")
    assert first["digest"] == second["digest"]
    assert (second["name"], second["content_type"]) == ("second.md", "text/markdown")
    erase_all(roomy, house)
    assert len(stored(settings, house)) == 1
    assert list(states(roomy, house).values()) == ["available"]
    assert all_readable(owner, house, b"twice") == 2


def test_parallel_uploads_of_the_same_bytes_make_one_object(
    roomy: Flask, settings: Settings, owner: Person, house: House
) -> None:
    content = os.urandom(200_000)
    answers = at_once(*[lambda: send(owner, house, content)] * 8)
    assert [answer.status_code for answer in answers] == [201] * 8
    assert sorted(states(roomy, house).values()) == ["available"] + ["deleting"] * 7
    assert sum(erase_all(roomy, house)) == 7
    assert len(stored(settings, house)) == 1
    assert all_readable(owner, house, content) == 8


def test_the_bytes_stay_until_the_last_document_goes(
    roomy: Flask, settings: Settings, owner: Person, house: House
) -> None:
    first, second = upload(owner, house), upload(owner, house)
    erase_all(roomy, house)
    assert delete_for_good(owner, house, first["id"]) == 204
    assert not any(erase_all(roomy, house))
    assert all_readable(owner, house, b"plans") == 1
    assert delete_for_good(owner, house, second["id"]) == 204
    assert list(states(roomy, house).values()) == ["deleting"]
    assert len(stored(settings, house)) == 1, "the bytes go after the commit, in a job"
    assert erase_all(roomy, house) == [True]
    assert not stored(settings, house)
    assert not states(roomy, house)


def test_erasing_twice_is_erasing_once(roomy: Flask, owner: Person, house: House) -> None:
    document = upload(owner, house)
    (file_id,) = states(roomy, house)
    delete_for_good(owner, house, document["id"])
    with roomy.app_context():
        storage, manager = current_app.extensions["storage"], current_manager()
        for expected in (True, False):
            with manager.tenant_db_session(house.database) as session:
                assert files.erase_file(session, storage, file_id=file_id) is expected


def test_erasing_a_file_that_is_in_use_does_nothing(
    roomy: Flask, settings: Settings, owner: Person, house: House
) -> None:
    upload(owner, house)
    assert erase_all(roomy, house) == [False]
    assert all_readable(owner, house, b"plans") == 1


def test_the_same_bytes_again_after_the_deletion(roomy: Flask, owner: Person, house: House) -> None:
    document = upload(owner, house)
    delete_for_good(owner, house, document["id"])
    upload(owner, house)
    assert sorted(states(roomy, house).values()) == ["available", "deleting"]
    assert sum(erase_all(roomy, house)) == 1
    assert all_readable(owner, house, b"plans") == 1


def test_deleting_while_the_same_bytes_arrive_never_dangles(
    roomy: Flask, settings: Settings, owner: Person, house: House
) -> None:
    for _ in range(6):
        content = os.urandom(64)
        old = [upload(owner, house, content)["id"] for _ in range(2)]
        answers = at_once(
            *[lambda one=one: delete_for_good(owner, house, one) for one in old],
            *[lambda content=content: send(owner, house, content).status_code] * 2,
            lambda: erase_all(roomy, house),
        )
        assert answers[:4] == [204, 204, 201, 201]
        erase_all(roomy, house)
        assert all_readable(owner, house, content) == 2
        assert len(stored(settings, house)) == 1
        for document in owner.get(house.documents).get_json()["items"]:
            delete_for_good(owner, house, document["id"])
        erase_all(roomy, house)
        assert not stored(settings, house)


def test_deleting_one_document_eight_times_at_once(owner: Person, house: House) -> None:
    made = upload(owner, house)["id"]
    for path in (f"{house.documents}/{made}", f"{house.documents}/trash/{made}"):
        answers = at_once(*[lambda path=path: owner.delete(path)] * 8)
        assert sorted(answer.status_code for answer in answers) == [204] + [404] * 7
        refusal(owner.get(f"{house.documents}/{made}"), 404)


def test_no_document_without_its_file(roomy: Flask, owner: Person, house: House) -> None:
    upload(owner, house)
    with roomy.app_context(), current_manager().tenant_db_session(house.database) as session:
        for document in session.scalars(select(Document)):
            assert document.file.state == "available"
            assert document.size == 5


def test_who_is_told_a_digest_gets_no_bytes(roomy: Flask, owner: Person, house: House) -> None:
    """Bytes are always received: what a client says of them gives no access."""
    digest = upload(owner, house, b"secret")["digest"]
    answer = send(elsewhere(owner, roomy), house, digest.encode(), name=digest)
    assert answer.get_json()["digest"] != digest
