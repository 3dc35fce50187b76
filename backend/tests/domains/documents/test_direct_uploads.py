"""Uploads straight to the store: verified from its bytes, whatever the client says of them."""

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from app.core import clock
from app.core.db import platform_session
from app.core.tasks import DEFINITIONS
from app.domains.documents.models import Document, File, Upload
from app.domains.documents.service import uploads
from app.domains.jobs.models import Job
from app.integrations.storage import ObjectMissing, Storage
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.documents.products import product
from tests.domains.documents.test_shared_bytes import at_once
from tests.domains.documents.trail import told
from tests.integrations.stores import KINDS, client

MIB = 1024**2
_AT_ONCE = 12 * MIB


@pytest.fixture(scope="module", params=KINDS)
def own(
    request: pytest.FixtureRequest,
    app: Flask,
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    server_urls: dict[str, str],
) -> Iterator[Flask]:
    changes = {"tenant_connections_per_tenant": 12, "verify_at_once_bytes": _AT_ONCE}
    folder: Path = tmp_path_factory.mktemp("store")
    with product(request.param, settings, folder, server_urls["s3"], **changes) as own:
        yield own


@pytest.fixture(scope="module")
def owner(own: Flask) -> Person:
    with own.app_context():
        return new_person(own, "Alice")


@pytest.fixture(scope="module")
def colleague(own: Flask) -> Person:
    with own.app_context():
        return new_person(own, "Ada")


@pytest.fixture(scope="module")
def reader(own: Flask) -> Person:
    with own.app_context():
        return new_person(own, "Bob")


@pytest.fixture
def context(own: Flask) -> Iterator[Flask]:
    with own.app_context():
        yield own


@pytest.fixture
def house(context: Flask, owner: Person, colleague: Person, reader: Person) -> House:
    return new_house("direct", owner, admin=colleague, viewer=reader)


@pytest.fixture
def store(own: Flask) -> Storage:
    store: Storage = own.extensions["storage"]
    return store


def reserve(person: Person, house: House, size: int, **more: object) -> dict[str, Any]:
    body = {"name": "plans.txt", "content_type": "text/plain", "size": size} | more
    answer = person.post(f"{house.documents}/uploads", json=body)
    assert answer.status_code == 201, answer.text
    upload: dict[str, Any] = answer.get_json()
    return upload


def send(upload: dict[str, Any], *contents: bytes) -> None:
    """PUTs the contents to the upload's addresses, which are for parts in this order."""
    with client() as session:
        for address, content in zip(upload["addresses"], contents, strict=True):
            answer = session.put(address["url"], data=content, timeout=30)
            assert answer.status_code == 200, answer.text


def one(house: House, upload: dict[str, Any]) -> str:
    return f"{house.documents}/uploads/{upload['id']}"


def complete(person: Person, house: House, upload: dict[str, Any]) -> TestResponse:
    return person.post(one(house, upload) + "/complete")


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def rows(house: House, model: type[Any]) -> list[Any]:
    with current_manager().tenant_db_session(house.database) as session:
        return list(session.scalars(select(model)).unique())


def time_passes(house: House) -> None:
    with current_manager().tenant_db_session(house.database) as session:
        session.execute(update(Upload).values(expires_at=clock.now() - timedelta(seconds=1)))


def test_only_its_owner_knows_of_an_upload(
    own: Flask, owner: Person, colleague: Person, reader: Person, house: House
) -> None:
    """Not even the tenant's administrator; Mallory has no tenant here."""
    upload = reserve(owner, house, 5)
    with own.app_context():
        mallory = new_person(own, "Mallory")
    for person, status in ((mallory, 404), (reader, 403), (colleague, 404)):
        refusal(person.get(one(house, upload)), status)
        refusal(complete(person, house, upload), status)
        refusal(person.delete(one(house, upload)), status)
        parts = {"numbers": [1]}
        refusal(person.post(one(house, upload) + "/parts", json=parts), status)
    body = {"name": "a", "size": 1}
    for person, status in ((mallory, 404), (reader, 403)):
        refusal(person.post(f"{house.documents}/uploads", json=body), status)
    assert owner.get(one(house, upload)).get_json()["state"] == "open"


def test_in_one_piece(owner: Person, house: House) -> None:
    content = "plans 日本".encode()
    upload = reserve(owner, house, len(content), digest=sha256(content), name="plans 日本.txt")
    assert (upload["state"], upload["received"], upload["document"]) == ("open", [], None)
    assert [address["number"] for address in upload["addresses"]] == [1]
    assert owner.get(house.documents).get_json()["items"] == []
    send(upload, content)
    seen = owner.get(one(house, upload)).get_json()
    assert (seen["received"], seen["addresses"]) == ([1], [])
    answer = complete(owner, house, upload)
    assert answer.status_code == 200, answer.text
    document = answer.get_json()["document"]
    assert document["name"] == "plans 日本.txt"
    assert (document["size"], document["digest"]) == (len(content), sha256(content))
    read = owner.get(f"{house.documents}/{document['id']}/download")
    assert (read.data, read.headers["Content-Type"].split(";")[0]) == (content, "text/plain")


def test_an_empty_file(owner: Person, house: House) -> None:
    upload = reserve(owner, house, 0)
    send(upload, b"")
    assert complete(owner, house, upload).get_json()["document"]["size"] == 0


def test_in_parts_with_an_interruption(owner: Person, house: House) -> None:
    content = os.urandom(11 * MIB)
    upload = reserve(owner, house, len(content), parts=3)
    step = upload["part_size"]
    pieces = [content[at : at + step] for at in range(0, len(content), step)]
    assert upload["part_count"] == len(pieces) == 3
    assert [address["size"] for address in upload["addresses"]] == list(map(len, pieces))
    send({"addresses": [upload["addresses"][2]]}, pieces[2])
    refusal(complete(owner, house, upload), 409, "upload_incomplete")

    resumed = owner.get(one(house, upload)).get_json()
    assert (resumed["state"], resumed["failure"]) == ("open", "upload_incomplete")
    assert resumed["received"] == [3]
    assert [address["number"] for address in resumed["addresses"]] == [1, 2]
    send(resumed, *pieces[:2])
    again = owner.post(one(house, upload) + "/parts", json={"numbers": [3]}).get_json()
    send(again, pieces[2])
    document = complete(owner, house, upload).get_json()["document"]
    assert document["digest"] == sha256(content)
    assert owner.get(f"{house.documents}/{document['id']}/download").data == content


@pytest.mark.parametrize("numbers", [[0], [4], [-1], [], ["1"], [1.5], list(range(1, 1002))])
def test_parts_that_it_does_not_have(owner: Person, house: House, numbers: list[Any]) -> None:
    upload = reserve(owner, house, 11 * MIB, parts=3)
    answer = owner.post(one(house, upload) + "/parts", json={"numbers": numbers})
    assert "numbers" in refusal(answer, 422)["errors"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "a"}, 422),
        ({"name": "a", "size": -1}, 422),
        ({"name": "a", "size": "5"}, 422),
        ({"name": "a", "size": 5 * 1024**3 + 1}, 413),
        ({"name": "", "size": 1}, 422),
        ({"name": "a\nb", "size": 1}, 422),
        ({"name": "a", "size": 1, "digest": "md5:00"}, 422),
        ({"name": "a", "size": 1, "digest": "sha256:" + "0" * 63}, 422),
        ({"name": "a", "size": 1, "parts": 0}, 422),
        ({"name": "a", "size": 1, "parts": 10_001}, 422),
    ],
)
def test_what_cannot_be_reserved(
    owner: Person, house: House, body: dict[str, Any], status: int
) -> None:
    refusal(owner.post(f"{house.documents}/uploads", json=body), status)
    assert rows(house, Upload) == []


def test_completing_before_anything_arrived(owner: Person, house: House) -> None:
    upload = reserve(owner, house, 5)
    refusal(complete(owner, house, upload), 409, "upload_incomplete")
    send(upload, b"plans")
    assert complete(owner, house, upload).status_code == 200


def test_other_bytes_than_were_announced(owner: Person, house: House, store: Storage) -> None:
    upload = reserve(owner, house, 5, digest=sha256(b"plans"))
    send(upload, b"PLANS")
    refusal(complete(owner, house, upload), 409, "upload_differs")
    seen = owner.get(one(house, upload)).get_json()
    assert (seen["state"], seen["failure"]) == ("failed", "upload_differs")
    refusal(complete(owner, house, upload), 409, "upload_over")
    assert rows(house, File) == []
    assert rows(house, Document) == []
    assert store.delete_all(f"tenants/{house.database}") == 0


def test_completing_twice_makes_one_document(owner: Person, house: House) -> None:
    upload = reserve(owner, house, 5)
    send(upload, b"plans")
    first, second = complete(owner, house, upload), complete(owner, house, upload)
    assert first.get_json() == second.get_json()
    assert len(owner.get(house.documents).get_json()["items"]) == 1


def test_ten_at_once_make_one_document(owner: Person, house: House) -> None:
    upload = reserve(owner, house, 5)
    send(upload, b"plans")
    answers = at_once(*[lambda: complete(owner, house, upload)] * 10)
    assert {answer.status_code for answer in answers} <= {200, 202}
    ids = {document["id"] for answer in answers if (document := answer.get_json()["document"])}
    assert len(ids) == 1
    assert complete(owner, house, upload).get_json()["document"]["id"] in ids
    assert len(rows(house, Document)) == 1
    assert [file.state for file in rows(house, File)] == ["available"]


def test_the_same_bytes_are_stored_once(owner: Person, house: House, store: Storage) -> None:
    documents = []
    for _ in range(2):
        upload = reserve(owner, house, 5)
        send(upload, b"plans")
        documents.append(complete(owner, house, upload).get_json()["document"])
    assert documents[0]["id"] != documents[1]["id"]
    assert sorted(file.state for file in rows(house, File)) == ["available", "deleting"]
    for document in documents:
        assert owner.get(f"{house.documents}/{document['id']}/download").data == b"plans"


def test_a_known_digest_gives_nothing(owner: Person, house: House) -> None:
    upload = reserve(owner, house, 6)
    send(upload, b"secret")
    complete(owner, house, upload)
    hopeful = reserve(owner, house, 6, digest=sha256(b"secret"))
    refusal(complete(owner, house, hopeful), 409, "upload_incomplete")


def test_writing_after_it_was_verified_changes_nothing(
    owner: Person, house: House, store: Storage
) -> None:
    """The address is still good; what it opens is no document's any more."""
    upload = reserve(owner, house, 5)
    send(upload, b"plans")
    document = complete(owner, house, upload).get_json()["document"]
    send(upload, b"PLANS")
    assert owner.get(f"{house.documents}/{document['id']}/download").data == b"plans"
    time_passes(house)
    with current_manager().tenant_db_session(house.database) as session:
        assert uploads.sweep_uploads(session, store) == 1
    assert owner.get(f"{house.documents}/{document['id']}/download").data == b"plans"
    assert store.delete_all(f"tenants/{house.database}/incoming") == 0
    refusal(owner.get(one(house, upload)), 404, "upload_not_found")


def test_aborting(owner: Person, house: House, store: Storage) -> None:
    for parts in (None, 2):
        upload = reserve(owner, house, 6 * MIB, parts=parts)
        contents = [b"x" * address["size"] for address in upload["addresses"]]
        send(upload, *contents)
        assert owner.delete(one(house, upload)).status_code == 204
        refusal(complete(owner, house, upload), 409, "upload_over")
        assert owner.get(one(house, upload)).get_json()["failure"] == "aborted"
    assert rows(house, File) == []
    assert store.delete_all(f"tenants/{house.database}") == 0


def test_reserving_and_aborting_are_in_the_trail(
    owner: Person, house: House, context: Flask
) -> None:
    begun = reserve(owner, house, 10)
    for _ in range(2):
        owner.delete(one(house, begun))
    assert told(context, house, begun["id"]) == [
        ("document.upload_reserved", {"name": "plans.txt", "size": 10}),
        ("document.upload_aborted", {"name": "plans.txt"}),
    ]


def test_aborting_what_is_completed(owner: Person, house: House) -> None:
    upload = reserve(owner, house, 5)
    send(upload, b"plans")
    complete(owner, house, upload)
    refusal(owner.delete(one(house, upload)), 409, "upload_over")
    assert len(rows(house, Document)) == 1


def test_an_upload_whose_time_is_over(owner: Person, house: House, store: Storage) -> None:
    upload = reserve(owner, house, 6 * MIB, parts=2)
    assert "documents.sweep_files" in jobs_for(house)
    send({"addresses": upload["addresses"][:1]}, b"x" * upload["addresses"][0]["size"])
    time_passes(house)
    refusal(complete(owner, house, upload), 410, "upload_expired")
    with current_manager().tenant_db_session(house.database) as session:
        assert uploads.sweep_uploads(session, store) == 1
    assert rows(house, File) == []
    assert rows(house, Upload) == []
    key = f"tenants/{house.database}/incoming/{UUID(upload['id']).hex}"
    with pytest.raises(ObjectMissing):
        store.stat(key)


def test_a_large_one_is_verified_by_a_job(owner: Person, house: House, context: Flask) -> None:
    content = os.urandom(_AT_ONCE + 1)
    upload = reserve(owner, house, len(content), digest=sha256(content))
    send(upload, content)
    for _ in range(2):
        answer = complete(owner, house, upload)
        assert (answer.status_code, answer.get_json()["state"]) == (202, "verifying")
    assert jobs_for(house).count("documents.verify_upload") == 1
    refusal(owner.delete(one(house, upload)), 409, "upload_over")
    run_job(house, upload)
    seen = owner.get(one(house, upload)).get_json()
    assert (seen["state"], seen["document"]["digest"]) == ("completed", sha256(content))
    run_job(house, upload)
    assert len(rows(house, Document)) == 1


def test_what_the_job_finds_wrong_is_told(owner: Person, house: House, context: Flask) -> None:
    upload = reserve(owner, house, _AT_ONCE + 1)
    assert complete(owner, house, upload).status_code == 202
    run_job(house, upload)
    seen = owner.get(one(house, upload)).get_json()
    assert (seen["state"], seen["failure"]) == ("open", "upload_incomplete")
    assert len(seen["addresses"]) == 1


def jobs_for(house: House) -> list[str]:
    with platform_session() as session:
        return list(session.scalars(select(Job.name).where(Job.tenant_id == house.id)))


def run_job(house: House, upload: dict[str, Any]) -> None:
    """As a worker does."""
    with current_manager().tenant_db_session(house.database) as session:
        DEFINITIONS["documents.verify_upload"].run(session, upload_id=upload["id"])


@pytest.mark.parametrize("moved", [False, True])
def test_a_process_that_died_while_it_verified(
    owner: Person, house: House, store: Storage, *, moved: bool
) -> None:
    upload = reserve(owner, house, 5)
    send(upload, b"plans")
    final = f"tenants/{house.database}/files/aa/bb/{uuid4().hex}"
    with current_manager().tenant_db_session(house.database) as session:
        long_ago = clock.now() - timedelta(minutes=16)
        session.execute(update(Upload).values(state="verifying", updated_at=long_ago))
        file = session.scalars(select(File)).one()
        incoming, file.key = file.key, final
    if moved:
        store.move(incoming, final)
    document = complete(owner, house, upload).get_json()["document"]
    assert owner.get(f"{house.documents}/{document['id']}/download").data == b"plans"
    assert len(rows(house, Document)) == 1
    assert store.delete_all(f"tenants/{house.database}") == 1


def test_addresses_are_for_the_holder_of_no_token(owner: Person, house: House, own: Flask) -> None:
    """Signed for one object, one size and one host; a changed one is refused."""
    upload = reserve(owner, house, 5)
    url: str = upload["addresses"][0]["url"]
    assert "Authorization" not in url
    changes: list[Callable[[str], str]] = [
        lambda url: url[:-3] + ("AAA" if url[-3:] != "AAA" else "BBB"),
        lambda url: url.replace(UUID(upload["id"]).hex, UUID(int=0).hex) + "x",
    ]
    with client() as session:
        for change in changes:
            assert session.put(change(url), data=b"plans", timeout=10).status_code == 403
        foreign = session.put(url, data=b"plans", headers={"Host": "example.com"}, timeout=10)
        assert foreign.status_code == 403
        for content in (b"plan", b"plans!"):
            assert session.put(url, data=content, timeout=10).status_code in {400, 403}
        assert session.put(url, data=b"plans", timeout=10).status_code == 200
