"""The trash: out of sight, back again, or gone for good."""

from datetime import timedelta
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import select, update

from app.core import clock
from app.core.db import platform_session
from app.domains.documents.models import Document
from app.domains.documents.service import trash
from app.domains.jobs.models import Job
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.documents.files import delete_for_good, upload
from tests.domains.documents.trail import told


@pytest.fixture
def owner(context: Flask) -> Person:
    return new_person(context, "Alice")


@pytest.fixture
def ursula(context: Flask) -> Person:
    return new_person(context, "Ursula")


@pytest.fixture
def house(context: Flask, owner: Person, ursula: Person) -> House:
    return new_house("trash", owner, user=ursula)


def trashed(person: Person, house: House) -> list[str]:
    items = person.get(f"{house.documents}/trash").get_json()["items"]
    return [each["name"] for each in items]


def delete(person: Person, house: House, name: str) -> str:
    made: str = upload(person, house, name.encode(), name)["id"]
    assert person.delete(f"{house.documents}/{made}").status_code == 204
    return made


def test_mallory_and_bob_see_no_trash(cast: Cast) -> None:
    made = delete(cast.alice, cast.acme, "secret.txt")
    for path, method in (("", "GET"), (f"/{made}", "DELETE"), ("", "DELETE")):
        refusal(cast.mallory.send(method, f"{cast.acme.documents}/trash{path}"), 404, "not_found")
        refusal(cast.bob.send(method, f"{cast.acme.documents}/trash{path}"), 403)
    restore = f"{cast.acme.documents}/{made}/restore"
    refusal(cast.mallory.post(restore), 404, "not_found")
    assert cast.alice.post(restore).status_code == 200


def test_what_is_in_the_trash_is_out_of_sight(app: Flask, owner: Person, house: House) -> None:
    made = upload(owner, house)["id"]
    one = f"{house.documents}/{made}"
    link = owner.get(one + "/download-url").get_json()["url"]
    link = link[link.index("/api/links/") :]
    assert app.test_client().get(link, buffered=True).status_code == 200
    assert owner.delete(one).status_code == 204
    for path in ("", "/download", "/download-url", "/versions", "/versions/1/download"):
        refusal(owner.get(one + path), 404, "document_not_found")
    refusal(app.test_client().get(link), 404, "stored_file_missing")
    refusal(owner.patch(one, json={"name": "x"}), 404, "document_not_found")
    refusal(owner.delete(one), 404, "document_not_found")
    refusal(owner.post(one + "/versions/1/restore"), 404, "document_not_found")
    refusal(owner.post(f"{house.documents}/zip", json={"ids": [made]}), 404)
    assert owner.get(house.documents).get_json()["items"] == []
    assert owner.get(house.documents, query_string={"name": "plans"}).get_json()["items"] == []
    assert owner.post(one + "/restore").status_code == 200
    assert app.test_client().get(link, buffered=True).data == b"plans"


def test_it_comes_back_as_it_was(app: Flask, owner: Person, house: House) -> None:
    made = upload(owner, house)
    owner.patch(f"{house.documents}/{made['id']}", json={"tags": ["plan"]})
    before = owner.get(f"{house.documents}/{made['id']}").get_json()
    owner.delete(f"{house.documents}/{made['id']}")
    back = owner.post(f"{house.documents}/{made['id']}/restore").get_json()
    assert back == before | {"revision": before["revision"] + 2, "updated_at": back["updated_at"]}
    refusal(owner.post(f"{house.documents}/{made['id']}/restore"), 404, "document_not_found")
    assert [kind for kind, _ in told(app, house, made["id"])][2:] == [
        "document.deleted",
        "document.restored",
    ]


def test_users_see_and_empty_their_own_and_admins_all(
    owner: Person, ursula: Person, house: House
) -> None:
    alices = [delete(owner, house, f"alice {number}") for number in range(2)]
    hers = delete(ursula, house, "ursula")
    assert trashed(owner, house) == ["ursula", "alice 1", "alice 0"]
    assert trashed(ursula, house) == ["ursula"]
    refusal(ursula.post(f"{house.documents}/{alices[0]}/restore"), 403, "not_your_document")
    refusal(ursula.delete(f"{house.documents}/trash/{alices[0]}"), 403, "not_your_document")
    assert ursula.delete(f"{house.documents}/trash").get_json() == {"purged": 1}
    assert trashed(owner, house) == ["alice 1", "alice 0"]
    refusal(owner.post(f"{house.documents}/{hers}/restore"), 404)
    assert owner.delete(f"{house.documents}/trash").get_json() == {"purged": 2}
    assert owner.delete(f"{house.documents}/trash").get_json() == {"purged": 0}


def test_pages_of_the_trash(owner: Person, house: House) -> None:
    for number in range(5):
        delete(owner, house, str(number))
    first = owner.get(f"{house.documents}/trash?limit=3").get_json()
    rest = owner.get(f"{house.documents}/trash?limit=3&cursor={first['next_cursor']}").get_json()
    assert [each["name"] for each in first["items"] + rest["items"]] == ["4", "3", "2", "1", "0"]
    assert rest["next_cursor"] is None
    assert all(each["deleted_at"] and each["deleted_by"] for each in first["items"])


def test_what_is_purged_is_gone_and_was_told(app: Flask, owner: Person, house: House) -> None:
    made = upload(owner, house)["id"]
    refusal(owner.delete(f"{house.documents}/trash/{made}"), 404, "document_not_found")
    assert delete_for_good(owner, house, made) == 204
    refusal(owner.post(f"{house.documents}/{made}/restore"), 404, "document_not_found")
    refusal(owner.delete(f"{house.documents}/trash/{uuid4()}"), 404, "document_not_found")
    assert [kind for kind, _ in told(app, house, made)] == [
        "document.uploaded",
        "document.deleted",
        "document.purged",
    ]


def test_a_large_trash_is_emptied(owner: Person, house: House, context: Flask) -> None:
    """More than one transaction takes."""
    made = upload(owner, house)
    with current_manager().tenant_db_session(house.database) as session:
        document = session.scalars(select(Document)).one()
        session.add_all(
            Document(
                file_id=document.file_id,
                name=str(number),
                content_type="text/plain",
                size=5,
                owner_id=owner.user_id,
                deleted_at=clock.now(),
                deleted_by=owner.user_id,
            )
            for number in range(450)
        )
    assert owner.delete(f"{house.documents}/trash").get_json() == {"purged": 450}
    assert owner.get(f"{house.documents}/{made['id']}/download").data == b"plans"


def test_what_lies_there_for_too_long_is_purged(
    context: Flask, settings: Settings, owner: Person, house: House
) -> None:
    for name in ("old", "young"):
        delete(owner, house, name)
    long_ago = clock.now() - timedelta(days=settings.trash_days)
    with current_manager().tenant_db_session(house.database) as session:
        session.execute(update(Document).where(Document.name == "old").values(deleted_at=long_ago))
    with current_manager().tenant_db_session(house.database) as session:
        trash.purge_old(session, days=settings.trash_days)
    assert trashed(owner, house) == ["young"]


def test_deleting_promises_the_purge(
    context: Flask, settings: Settings, owner: Person, house: House
) -> None:
    """One job for all that is deleted on a day, due when the youngest of it is old enough."""
    for name in ("a", "b"):
        delete(owner, house, name)
    with platform_session() as session:
        statement = select(Job).where(
            Job.tenant_id == house.id, Job.name == "documents.purge_trash"
        )
        (job,) = session.scalars(statement).all()
    wait = job.due_at - clock.now()
    days = settings.trash_days
    assert timedelta(days=days) < wait <= timedelta(days=days + 1)
