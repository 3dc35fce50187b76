"""Idempotency-Key: one effect and one answer, for whoever is still let in."""

import io
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import func, select, text, update
from werkzeug.test import TestResponse

from app.core import clock
from app.core.db import main_session, platform_session
from app.core.http import PUBLIC, stated_endpoint
from app.core.idempotency import HEADER, REPLAYED, Once
from app.core.tasks import DEFINITIONS, perform
from app.domains.documents.models import Document
from app.domains.idempotency import tasks
from app.domains.idempotency.models import MainKey, TenantKey
from app.domains.jobs.models import Job
from app.domains.tenants.service import members
from app.tenancy.manager import current_manager
from tests.cast import House, Person, new_house, new_person
from tests.core.answers import refusal


@pytest.fixture(scope="module")
def alice(app: Flask) -> Person:
    with app.app_context():
        return new_person(app, "Alice")


@pytest.fixture(scope="module")
def ursula(app: Flask) -> Person:
    with app.app_context():
        return new_person(app, "Ursula")


@pytest.fixture(scope="module")
def house(app: Flask, alice: Person, ursula: Person) -> House:
    with app.app_context():
        return new_house("once", alice, user=ursula)


@pytest.fixture
def key() -> str:
    return str(uuid4())


def upload(
    person: Person, house: House, key: str, content: bytes = b"plans", **options: Any
) -> TestResponse:
    """As programs send it: each time with another boundary."""
    name = options.pop("name", "plans.txt")
    form = {"file": (io.BytesIO(content), name, "text/plain")}
    return person.post(house.documents, data=form, headers={HEADER: key}, **options)


def claim(person: Person, house: House, key: str, domain: str) -> TestResponse:
    path = f"/api/tenants/{house.id}/domains"
    return person.post(path, json={"domain": domain}, headers={HEADER: key})


def is_replay(answer: TestResponse, first: TestResponse) -> bool:
    assert REPLAYED not in first.headers
    assert answer.status_code == first.status_code, answer.text
    assert answer.data == first.data
    for name in ("Content-Type", "ETag", "Location"):
        assert answer.headers.get(name) == first.headers.get(name), name
    return answer.headers.get(REPLAYED) == "true"


def documents(house: House) -> int:
    with current_manager().tenant_db_session(house.database) as session:
        return session.scalar(select(func.count()).select_from(Document)) or 0


def keys_of(house: House) -> list[TenantKey]:
    with current_manager().tenant_db_session(house.database) as session:
        return list(session.scalars(select(TenantKey)))


def test_every_post_that_creates_takes_a_key(app: Flask) -> None:
    """All but those without a caller, to whom no key could belong."""
    creating = set()
    for rule in app.url_map.iter_rules():
        view: Any = app.view_functions[rule.endpoint]
        stated = stated_endpoint(view)
        if "POST" in (rule.methods or set()) and stated is not None and stated.status in {201, 202}:
            creating.add(rule.endpoint)
            assert stated.idempotent == (stated.allow != PUBLIC), rule.endpoint
            if stated.idempotent and stated.transaction is None:
                given = view.__wrapped__.__annotations__
                assert given.get("once") is Once, (
                    f"{rule.endpoint} cannot be repeated after a crash"
                )
    assert len(creating) >= 11


def test_an_upload_is_done_once(context: Flask, alice: Person, house: House, key: str) -> None:
    before = documents(house)
    first = upload(alice, house, key)
    assert first.status_code == 201
    assert is_replay(upload(alice, house, key), first)
    assert is_replay(upload(alice, house, f'"{key}"'), first)
    assert documents(house) == before + 1
    refusal(upload(alice, house, key, b"Plans"), 422, "idempotency_key_reused")
    refusal(upload(alice, house, key, name="another.txt"), 422, "idempotency_key_reused")
    refusal(upload(alice, house, key, query_string="a=1"), 422, "idempotency_key_reused")
    assert documents(house) == before + 1
    again = upload(alice, house, str(uuid4()))
    assert again.get_json()["id"] != first.get_json()["id"]


def test_a_version_is_added_once(alice: Person, house: House, key: str) -> None:
    document = upload(alice, house, str(uuid4())).get_json()["id"]
    path = f"{house.documents}/{document}/versions"

    def add(content: bytes, **headers: str) -> TestResponse:
        form = {"file": (io.BytesIO(content), "plans.txt", "text/plain")}
        return alice.post(path, data=form, headers={HEADER: key} | headers)

    first = add(b"newer")
    assert first.get_json()["version"] == 2
    assert is_replay(add(b"newer"), first)
    refusal(add(b"newer", **{"If-Match": '"1"'}), 422, "idempotency_key_reused")
    assert len(alice.get(path).get_json()["items"]) == 2


def test_a_direct_upload_is_reserved_once(alice: Person, house: House, key: str) -> None:
    body = {"name": "film.mp4", "content_type": "video/mp4", "size": 10}
    path = f"{house.documents}/uploads"
    first = alice.post(path, json=body, headers={HEADER: key})
    assert first.status_code == 201, first.text
    assert is_replay(alice.post(path, json=body, headers={HEADER: key}), first)


def test_a_key_in_the_main_database(alice: Person, house: House, key: str) -> None:
    domain = f"{uuid4().hex}.com"
    first = claim(alice, house, key, domain)
    assert first.status_code == 201, first.text
    assert is_replay(claim(alice, house, key, domain), first)
    refusal(claim(alice, house, key, "x" + domain), 422, "idempotency_key_reused")
    path = f"/api/tenants/{house.id}/invitations"
    body = {"email": "nobody@example.com", "role": "viewer"}
    answer = alice.post(path, json=body, headers={HEADER: key})
    refusal(answer, 422, "idempotency_key_reused")


def test_a_tenant_is_created_once(context: Flask, alice: Person, key: str) -> None:
    body = {"name": "Once", "slug": f"once-{uuid4().hex[:8]}"}
    first = alice.post("/api/tenants", json=body, headers={HEADER: key})
    assert first.status_code == 201, first.text
    again = alice.post("/api/tenants", json=body, headers={HEADER: key})
    assert is_replay(again, first)
    # A process that died behind its last commit has answered nobody: the next one goes on.
    with platform_session() as session:
        row = update(MainKey).where(MainKey.id == UUID(first.get_json()["id"]))
        session.execute(row.values(answer=None, lease_ends_at=clock.now()))
    taken_over = alice.post("/api/tenants", json=body, headers={HEADER: key})
    assert REPLAYED not in taken_over.headers
    assert taken_over.status_code == 201
    assert taken_over.get_json() == first.get_json()
    assert is_replay(alice.post("/api/tenants", json=body, headers={HEADER: key}), taken_over)


def test_another_users_key_is_another(
    context: Flask, alice: Person, ursula: Person, house: House, key: str
) -> None:
    first, second = upload(alice, house, key), upload(ursula, house, key)
    assert first.status_code == second.status_code == 201
    assert REPLAYED not in second.headers
    assert first.get_json()["id"] != second.get_json()["id"]
    another = new_house("other", alice)
    third = claim(alice, another, key, f"{uuid4().hex}.com")
    fourth = claim(alice, house, key, f"{uuid4().hex}.com")
    assert third.status_code == fourth.status_code == 201


def test_a_replay_is_for_those_who_are_let_in(
    context: Flask, alice: Person, house: House, key: str
) -> None:
    bob = new_person(context, "Bob")
    with main_session(tenant_id=house.id) as session:
        members.add_member(session, tenant_id=house.id, user_id=bob.user_id, role="user")
    assert upload(bob, house, key).status_code == 201
    path = f"/api/tenants/{house.id}/users/{bob.user_id}"
    assert alice.patch(path, json={"role": "viewer"}).status_code == 200
    refusal(upload(bob, house, key), 403)
    assert alice.delete(path).status_code == 204
    refusal(upload(bob, house, key), 404)
    bob.post("/api/auth/logout")
    refusal(upload(bob, house, key), 401)


@pytest.mark.parametrize(
    "key",
    ["", '""', '"', '"a', 'a"b', "a b", "a,b", '"a", "b"', "a;b", "\xe4", '"\xe4"', '"\\x"',
     "x" * 256, '"' + "x" * 256 + '"', "\x7f", '"a";p=1'],
)  # fmt: skip
def test_what_is_no_key(context: Flask, alice: Person, house: House, key: str) -> None:
    before = documents(house)
    refusal(upload(alice, house, key), 400, "idempotency_key_invalid")
    assert documents(house) == before


def test_what_is_a_key(alice: Person, house: House) -> None:
    for key in ("x" * 255, '"a \\" b \\\\"', '"; , ="', "8e03978e-40d5-43dd-bc93-6894a57f9324"):
        assert upload(alice, house, key).status_code == 201, key


def test_a_refusal_is_not_kept(alice: Person, house: House, key: str) -> None:
    refusal(upload(alice, house, key, name="\x01"), 422, "bad_document_name")
    taken = claim(alice, house, str(uuid4()), f"{uuid4().hex}.com").get_json()["domain"]
    refusal(claim(alice, house, key, taken), 409)
    mended = claim(alice, house, key, f"{uuid4().hex}.com")
    assert mended.status_code == 201
    assert REPLAYED not in mended.headers


@pytest.fixture
def running(context: Flask, alice: Person, house: House, key: str) -> UUID:
    """A key whose request has not answered yet."""
    upload(alice, house, key)
    with current_manager().tenant_db_session(house.database) as session:
        row = session.scalars(select(TenantKey).order_by(TenantKey.id.desc()).limit(1)).one()
        row.answer = row.content = None
    return row.id


def test_a_key_that_is_in_use(running: UUID, alice: Person, house: House, key: str) -> None:
    before = documents(house)
    answer = upload(alice, house, key)
    refusal(answer, 409, "idempotency_key_in_use")
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert documents(house) == before
    with current_manager().tenant_db_session(house.database) as session:
        session.execute(update(TenantKey).values(lease_ends_at=clock.now()))
    refusal(upload(alice, house, key, name="another.txt"), 422, "idempotency_key_reused")
    taken_over = upload(alice, house, key)
    assert taken_over.status_code == 201
    assert documents(house) == before + 1
    assert is_replay(upload(alice, house, key), taken_over)


def test_a_slow_upload_renews_its_lease_and_one_that_lost_it_has_no_effect(
    running: UUID, alice: Person, house: House, key: str
) -> None:
    keys = alice.app.extensions["idempotency"]
    with current_manager().tenant_db_session(house.database) as session:
        row = session.get_one(TenantKey, running)
        held, before = keys._held(row.id, row.attempt), row.lease_ends_at
    with current_manager().tenant_db_session(house.database) as session:
        keys.renew(session, held)
        renewed = session.get_one(TenantKey, running)
        assert renewed.lease_ends_at > before
        renewed.attempt += 1  # somebody else has it
    with (
        pytest.raises(Exception, match="Idempotency-Key is running"),
        current_manager().tenant_db_session(house.database) as session,
    ):
        keys.answer(session, held, answer="mine", content=None)
    with current_manager().tenant_db_session(house.database) as session:
        keys.give_back(session, held, forget=True)
        assert session.get_one(TenantKey, running).answer is None


def test_nothing_of_an_answer_is_kept_in_clear(
    context: Flask, alice: Person, house: House, key: str
) -> None:
    body = {"name": "canary.mp4", "content_type": "video/mp4", "size": 10}
    answer = alice.post(f"{house.documents}/uploads", json=body, headers={HEADER: key})
    link = answer.get_json()["addresses"][0]["url"]
    domain = f"{uuid4().hex}.com"
    secret = claim(alice, house, key, domain).get_json()["challenge"]
    assert secret
    with current_manager().tenant_db_session(house.database) as session:
        tenants = str(session.execute(text("SELECT t::text FROM idempotency_keys t")).all())
    with platform_session() as session:
        main = str(session.execute(text("SELECT t::text FROM platform_idempotency_keys t")).all())
    assert answer.get_json()["id"] not in tenants
    for part in (link, link.rpartition("/")[2], "canary", key):
        assert part not in tenants
    for part in (secret, domain, key):
        assert part not in main


def test_keys_expire_and_are_purged(context: Flask, alice: Person, house: House, key: str) -> None:
    first = upload(alice, house, key)
    domain = f"{uuid4().hex}.com"
    claim(alice, house, key, domain)
    with current_manager().tenant_db_session(house.database) as session:
        session.execute(update(TenantKey).values(expires_at=clock.now()))
    with platform_session() as session:
        session.execute(update(MainKey).values(expires_at=clock.now()))
        due = session.scalars(
            select(Job.due_at).where(
                Job.name == "idempotency.purge_tenant", Job.tenant_id == house.id
            )
        ).all()
    assert len(due) in {1, 2}  # one a day; midnight may pass
    assert all(24 * 3600 < (each - clock.now()).total_seconds() <= 48 * 3600 for each in due)
    again = upload(alice, house, key)
    assert again.status_code == 201
    assert again.get_json()["id"] != first.get_json()["id"]
    perform(
        DEFINITIONS["idempotency.purge_tenant"],
        lambda _: current_manager().tenant_db_session(house.database),
        tenant_id=house.id,
        arguments={},
    )
    assert len(keys_of(house)) == 1
    tasks.purge()
    with platform_session() as session:
        assert session.scalars(select(MainKey).where(MainKey.tenant_id == house.id)).all() == []
