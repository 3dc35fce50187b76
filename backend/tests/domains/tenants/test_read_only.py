"""Read-only: what the application says, and what the database does to whoever goes past it."""

import io
import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import text

from app.core.db import main_session, platform_session
from app.core.tasks import TenantClosed
from app.domains.tenants import queries
from app.domains.tenants.errors import AlreadyHeld, CannotBeReadOnly, WrongState
from app.domains.tenants.service import deletion, lifecycle, read_only, reconciliation
from app.domains.tenants.service.directory import TenantRegistry
from app.domains.tenants.service.read_only import HoldLost
from app.domains.tenants.service.reconciliation import Fault
from app.integrations.storage import current_storage
from app.tenancy.locations import TenantLocation
from tests.cast import House, Person, new_house, new_person
from tests.tenancy.laboratory import Laboratory, until

LONG = timedelta(minutes=5)


@pytest.fixture
def acme(lab: Laboratory, alice: Person) -> Iterator[House]:
    made = new_house("acme", alice)
    yield made
    deletion.purge(lab.manager, current_storage(), tenant_id=made.id)


@pytest.fixture(scope="module")
def petra(lab: Laboratory) -> Person:
    return new_person(lab.app, "Petra", platform_role="platform_admin")


def location(house: House) -> TenantLocation:
    return TenantRegistry().locate_tenant(house.id)


def upload(person: Person, house: House, name: str = "plans.txt") -> tuple[int, dict[str, str]]:
    answer = person.post(house.documents, data={"file": (io.BytesIO(b"plans"), name)})
    return answer.status_code, answer.get_json()


def test_documents_are_read_and_not_changed(
    lab: Laboratory, alice: Person, petra: Person, acme: House
) -> None:
    _, document = upload(alice, acme)
    one = f"{acme.documents}/{document['id']}"
    address = f"/api/tenants/{acme.id}/read-only"
    assert alice.post(address).status_code == 403
    told = petra.post(address, json={"reason": "unpaid"})
    assert (told.status_code, told.get_json()["read_only"]) == (200, True)
    assert alice.get(f"/api/tenants/{acme.id}").get_json()["read_only_reason"] == "unpaid"
    for answer in (
        alice.get(acme.documents),
        alice.get(f"{acme.documents}?name=plan"),
        alice.get(one + "/download"),
        alice.get(one + "/download-url"),
        alice.get(one + "/versions"),
        alice.get(acme.documents + "/trash"),
        alice.get(f"/api/tenants/{acme.id}/usage"),
        alice.get(f"/api/tenants/{acme.id}/audit"),
        alice.post(acme.documents + "/zip", json={"ids": [document["id"]]}),
    ):
        assert answer.status_code == 200, (answer.request.path, answer.text)
    link = alice.get(one + "/download-url").get_json()["url"]
    path = link.removeprefix("http://localhost")
    assert lab.app.test_client().get(path, buffered=True).status_code == 200
    for answer in (
        alice.post(acme.documents, data={"file": (io.BytesIO(b"more"), "more.txt")}),
        alice.patch(one, json={"tags": ["x"]}),
        alice.delete(one),
        alice.delete(acme.documents + "/trash"),
        alice.post(acme.documents + "/uploads", json={"name": "a", "size": 3}),
        alice.post(acme.documents + "/bulk", json={"action": "delete", "ids": [document["id"]]}),
    ):
        assert answer.status_code == 403, (answer.request.path, answer.text)
        assert answer.get_json()["code"] == "tenant_read_only"
    with main_session(tenant_id=acme.id) as session:  # who read is remembered by the platform
        types = session.scalars(text("SELECT DISTINCT type FROM platform_audit_entries")).all()
    assert {"tenant.made_read_only", "document.downloaded"} <= set(types)
    assert petra.delete(address).get_json()["read_only"] is False
    assert petra.delete(address).status_code == 200
    assert upload(alice, acme, "again.txt")[0] == 201


def test_a_live_session_loses_the_right_and_its_transaction(lab: Laboratory, acme: House) -> None:
    here = location(acme)
    insert = b"INSERT INTO files (id, key, state, charged_bytes, holds_place, created_at,"
    insert += b" updated_at) VALUES (gen_random_uuid(), 'k', 'pending', 0, false, now(), now())"
    with lab.as_tenant(here) as idle, lab.as_tenant(here) as writing:
        writing.execute("BEGIN")
        writing.execute(insert)
        read_only.make_read_only(lab.manager, tenant_id=acme.id)
        for live in (idle, writing):
            with pytest.raises(psycopg.OperationalError):
                live.execute("COMMIT")
    with lab.as_tenant(here) as later:
        assert later.execute("SELECT count(*) FROM files").fetchone() == (0,)
        for hostile in (
            insert,
            b"BEGIN READ WRITE; " + insert,
            b"SET default_transaction_read_only = off; DELETE FROM documents",
            b"SELECT audit_append(gen_random_uuid(), '', '', NULL, NULL, '', '', '', '{}')",
            b"SELECT * FROM files FOR UPDATE",
            f"SET ROLE {lab.installation.tenant_rw}".encode(),
            b"SELECT * FROM alembic_version",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                later.execute(hostile)
            later.execute("ROLLBACK")
        read_only.make_read_only(lab.manager, tenant_id=acme.id)  # done again, it ends nobody
        assert later.execute("SELECT 1").fetchone() == (1,)


def test_a_suspended_tenant_comes_back_as_read_only(lab: Laboratory, acme: House) -> None:
    read_only.make_read_only(lab.manager, tenant_id=acme.id)
    lifecycle.suspend(lab.manager, tenant_id=acme.id)
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        lab.as_tenant(location(acme))
    lifecycle.resume(lab.manager, tenant_id=acme.id)
    with lab.as_tenant(location(acme)) as back:
        assert back.execute("SELECT 1 FROM documents").fetchall() == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            back.execute("DELETE FROM documents")
    with pytest.raises(TenantClosed):
        TenantRegistry().locate_writable(acme.id)


def test_a_hold_tells_writers_to_come_again_and_ends(
    lab: Laboratory, alice: Person, acme: House
) -> None:
    with read_only.held(lab.manager, tenant_id=acme.id, longest=LONG) as hold:
        answer = alice.post(acme.documents, data={"file": (io.BytesIO(b"x"), "x.txt")})
        assert (answer.status_code, answer.get_json()["code"]) == (503, "tenant_held")
        assert int(answer.headers["Retry-After"]) > 0
        assert alice.get(acme.documents).status_code == 200
        with (
            pytest.raises(AlreadyHeld),
            read_only.held(lab.manager, tenant_id=acme.id, longest=LONG),
        ):
            pass
        with main_session(tenant_id=acme.id) as session:
            read_only.require_held(session, hold)
    with pytest.raises(HoldLost), main_session(tenant_id=acme.id) as session:
        read_only.require_held(session, hold)
    assert upload(alice, acme)[0] == 201


def test_a_hold_whose_process_died_is_ended(lab: Laboratory, alice: Person, acme: House) -> None:
    left = read_only.held(lab.manager, tenant_id=acme.id, longest=LONG)
    left.__enter__()
    assert not [each for each in faults(lab) if each.tenant_id == acme.id]
    with main_session(tenant_id=acme.id) as session:
        row = queries.database(session, acme.id)
        assert row is not None
        row.held_until = row.created_at  # long over
    assert upload(alice, acme)[0] == 503
    [finding] = [each for each in faults(lab) if each.tenant_id == acme.id]
    assert finding.fault is Fault.NOT_LET_IN
    assert reconciliation.mend(lab.manager, current_storage(), finding).outcome == "let in"
    assert upload(alice, acme)[0] == 201
    left.__exit__(None, None, None)


def faults(lab: Laboratory) -> list[reconciliation.Finding]:
    return reconciliation.find_faults(lab.manager)


def test_a_role_that_writes_all_the_same_is_found_and_mended(lab: Laboratory, acme: House) -> None:
    read_only.make_read_only(lab.manager, tenant_id=acme.id)
    lab.manager.resume_tenant_database(location(acme))
    [finding] = [each for each in faults(lab) if each.tenant_id == acme.id]
    assert finding.fault is Fault.WRITABLE
    mended = reconciliation.mend(lab.manager, current_storage(), finding)
    assert mended.outcome == "made read-only"
    assert not [each for each in faults(lab) if each.tenant_id == acme.id]


def test_not_what_has_no_data_nor_a_schema_that_is_too_old(lab: Laboratory, acme: House) -> None:
    with lab.manager.server.connect_as_owner(acme.database) as owner:
        readers = lab.installation.tenant_ro
        owner.execute(f"REVOKE USAGE ON SCHEMA public FROM {readers}".encode())
    with pytest.raises(CannotBeReadOnly):
        read_only.make_read_only(lab.manager, tenant_id=acme.id)
    with platform_session() as session:
        tenant = queries.tenant(session, acme.id)
    assert tenant is not None
    assert tenant.read_only_since is None
    deletion.delete(lab.manager, tenant_id=acme.id, confirm=acme.slug, grace=LONG)
    with pytest.raises((WrongState, CannotBeReadOnly)):
        read_only.make_read_only(lab.manager, tenant_id=acme.id)


def test_the_last_of_many_who_change_their_minds_is_obeyed(lab: Laboratory, acme: House) -> None:
    def change(verb: object) -> None:
        with lab.app.app_context():
            verb(lab.manager, tenant_id=acme.id)  # type: ignore[operator]

    verbs = [read_only.make_read_only, read_only.make_writable] * 3
    threads = [threading.Thread(target=change, args=(verb,)) for verb in verbs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: not [each for each in faults(lab) if each.tenant_id == acme.id], "agreement")
