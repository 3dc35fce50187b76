"""The quota: taken before the first byte, given back when it is not used, and never overshot."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from threading import Barrier
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError

from app.domains.documents.models import Document, File
from app.domains.documents.service import files
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere
from tests.domains.documents.files import delete_for_good, send, stored, upload
from tests.domains.documents.test_uploads import HEAD, TAIL, send_stream
from tests.domains.documents.test_versions import add, erase

Limited = Callable[..., AbstractContextManager[Person]]


@pytest.fixture
def owner(context: Flask) -> Person:
    return new_person(context, "Alice")


@pytest.fixture
def house(context: Flask, owner: Person) -> House:
    return new_house("quota", owner)


@pytest.fixture
def limited(settings: Settings, owner: Person) -> Limited:
    """The owner at an instance with these limits."""

    @contextmanager
    def run(**limits: int) -> Iterator[Person]:
        named = {f"tenant_quota_{name}": limit for name, limit in limits.items()}
        with another_app(settings, **named) as app:
            yield elsewhere(owner, app)

    return run


def usage(person: Person, house: House) -> dict[str, Any]:
    answer = person.get(f"/api/tenants/{house.id}/usage")
    assert answer.status_code == 200, answer.text
    used: dict[str, Any] = answer.get_json()
    return used


def used(person: Person, house: House) -> tuple[int, int]:
    now = usage(person, house)
    return now["stored_bytes"], now["documents"]


def test_mallory_learns_nothing_bob_may_look(cast: Cast) -> None:
    path = f"/api/tenants/{cast.acme.id}/usage"
    refusal(cast.mallory.get(path), 404, "not_found")
    assert cast.bob.get(path).status_code == 200


def test_what_is_used(owner: Person, house: House, context: Flask) -> None:
    one, other = upload(owner, house, b"12345"), upload(owner, house, b"12345")
    add(owner, f"{house.documents}/{one['id']}", b"123")
    owner.delete(f"{house.documents}/{other['id']}")
    assert usage(owner, house) == {
        "stored_bytes": 8,
        "logical_bytes": 13,
        "documents": 2,
        "trashed_documents": 1,
        "versions": 3,
        "max_bytes": None,
        "max_documents": None,
    }
    assert delete_for_good(owner, house, one["id"]) == 204
    assert used(owner, house) == (5, 1)
    owner.delete(f"{house.documents}/trash")
    assert used(owner, house) == (0, 0)


def test_up_to_the_edge_and_no_further(limited: Limited, house: House) -> None:
    with limited(bytes=10) as there:
        kept = upload(there, house, b"1234567890")
        refusal(send(there, house, b"1"), 409, "quota_exceeded")
        assert send(there, house, b"").status_code == 201, "nothing needs no room"
        assert used(there, house) == (10, 2)
        assert delete_for_good(there, house, kept["id"]) == 204
        assert upload(there, house, b"abcdefghij")["size"] == 10


def test_a_count(limited: Limited, house: House) -> None:
    with limited(documents=2) as there:
        first, _ = upload(there, house, b"1"), upload(there, house, b"2")
        refusal(send(there, house, b""), 409, "quota_exceeded")
        there.delete(f"{house.documents}/{first['id']}")
        refusal(send(there, house, b""), 409, "quota_exceeded")
        there.delete(f"{house.documents}/trash")
        assert send(there, house, b"").status_code == 201
        path = there.get(house.documents).get_json()["items"][0]["id"]
        assert add(there, f"{house.documents}/{path}", b"new").status_code == 201


def test_the_same_bytes_need_room_only_while_they_arrive(limited: Limited, house: House) -> None:
    with limited(bytes=10) as there:
        for _ in range(3):
            upload(there, house, b"12345")
        assert used(there, house) == (5, 3)


@pytest.mark.parametrize("announced", [True, False])
def test_what_turns_out_to_be_too_much_is_given_back(
    *, settings: Settings, limited: Limited, house: House, announced: bool
) -> None:
    body = [HEAD, *[b"x" * 60_000] * 3, TAIL]
    length = sum(map(len, body)) if announced else None
    with limited(bytes=100_000) as there:
        refusal(send_stream(there, house, body, length), 409, "quota_exceeded")
        assert used(there, house) == (0, 0)
        assert stored(settings, house) == set()
        fits = [HEAD, b"x" * 60_000, b"x" * 40_000, TAIL]
        length = sum(map(len, fits)) if announced else None
        assert send_stream(there, house, fits, length).status_code == 201
        assert used(there, house) == (100_000, 1)


def test_a_liar_gets_no_more(limited: Limited, house: House) -> None:
    """Content-Length ends before the file does: what lies behind it is never read."""
    body = [HEAD, b"x" * 50_000, TAIL]
    with limited(bytes=1000) as there:
        refusal(send_stream(there, house, body, len(HEAD) + 100), 400)
        assert used(there, house) == (0, 0)


def test_an_upload_holds_its_part_while_it_runs(limited: Limited, house: House) -> None:
    seen: list[object] = []
    with limited(bytes=1000, documents=5) as there:

        def parts() -> Iterator[bytes]:
            yield HEAD
            seen.append(used(there, house))
            seen.append(send(there, house, b"x" * 500).get_json()["code"])
            yield b"x" * 600
            yield TAIL

        length = len(HEAD) + 600 + len(TAIL)
        assert send_stream(there, house, parts(), length).status_code == 201
        assert used(there, house) == (600, 1)
    assert seen == [(600, 1), "quota_exceeded"]


def test_a_broken_upload_gives_it_back(limited: Limited, house: House) -> None:
    with limited(bytes=1000) as there:
        for _ in range(3):
            refusal(send_stream(there, house, [HEAD, b"x" * 300], len(HEAD) + 900), 400)
        assert used(there, house) == (0, 0)


def test_fifty_at_the_edge(settings: Settings, owner: Person, house: House) -> None:
    """Room for ten of them: ten it is, whoever comes first."""
    room = {
        "tenant_connections_per_tenant": 20, "tenant_connection_wait": 60.0,
        "tenant_waiters_per_tenant": 50, "tenant_quota_bytes": 10_000,
    }  # fmt: skip
    with another_app(settings, **room) as app:
        there, start = elsewhere(owner, app), Barrier(50)

        def upload_one(number: int) -> int:
            content = number.to_bytes(2) * 500
            start.wait(30)
            return send(there, house, content).status_code

        with ThreadPoolExecutor(50) as pool:
            codes = list(pool.map(upload_one, range(50)))
        assert sorted(codes) == [201] * 10 + [409] * 40
        assert used(there, house) == (10_000, 10)


def test_fifty_of_the_same_bytes(
    settings: Settings, owner: Person, house: House, context: Flask
) -> None:
    room = {
        "tenant_connections_per_tenant": 20, "tenant_connection_wait": 60.0,
        "tenant_waiters_per_tenant": 50,
    }  # fmt: skip
    with another_app(settings, **room) as app:
        there, start = elsewhere(owner, app), Barrier(50)

        def upload_one(_: int) -> int:
            start.wait(30)
            return send(there, house, b"the same" * 1000).status_code

        with ThreadPoolExecutor(50) as pool:
            assert set(pool.map(upload_one, range(50))) == {201}
        assert used(there, house) == (8000, 50)
    assert erase(house) == 49
    assert len(stored(settings, house)) == 1


def test_limits_of_its_own(limited: Limited, admin_url: str, owner: Person, house: House) -> None:
    with psycopg.connect(admin_url, dbname=house.database) as connection:
        connection.execute("UPDATE quota SET max_bytes = 5, max_documents = 7")
    assert usage(owner, house)["max_bytes"] == 5
    refusal(send(owner, house, b"123456"), 409, "quota_exceeded")
    with limited(bytes=1000, documents=1000) as there:
        refusal(send(there, house, b"123456"), 409, "quota_exceeded")
        assert usage(there, house)["max_documents"] == 7


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE quota SET used_bytes = 0",
        "UPDATE quota SET max_bytes = NULL",
        "DELETE FROM quota",
        "INSERT INTO quota VALUES (2, 0, 0)",
        "SELECT * FROM quota FOR UPDATE",
        "ALTER TABLE files DISABLE TRIGGER ALL",
        "DROP TRIGGER quota_insert ON files",
        "SELECT quota_count_files()",
    ],
)
def test_the_tenants_role_only_reads_it(context: Flask, house: House, statement: str) -> None:
    with (
        pytest.raises(
            ProgrammingError, match=r"permission denied|must be owner|only be called as triggers"
        ),
        current_manager().tenant_db_session(house.database) as session,
    ):
        session.execute(text(statement))


def test_the_sums_are_what_the_rows_say(owner: Person, house: House, context: Flask) -> None:
    made = [upload(owner, house, str(number % 3).encode() * 10) for number in range(6)]
    refusal(send_stream(owner, house, [HEAD, b"x" * 300], None), 400)
    add(owner, f"{house.documents}/{made[0]['id']}", b"newer")
    delete_for_good(owner, house, made[1]["id"])
    erase(house)
    with current_manager().tenant_db_session(house.database) as session:
        charged = sum(session.scalars(select(File.charged_bytes)))
        sizes = sum(session.scalars(select(File.size).where(File.state == "available")))
        count = len(session.scalars(select(Document.id)).all())
        row = session.execute(text("SELECT used_bytes, used_documents FROM quota")).one()
        assert files.sweep_files(session, context.extensions["storage"]) == 0
    assert tuple(row) == (charged, count) == (sizes, count)
