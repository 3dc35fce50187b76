"""The application with Vault: it goes on with what it holds, and what it needs anew waits."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, select, text

from app.core.db import MainModel, platform_session
from app.core.secrets import FernetBox, SecretBox
from app.core.tasks import QUEUES
from app.domains.jobs.service import canaries
from app.domains.sealing import service, tasks
from app.domains.sealing.service import Outcome
from app.domains.tenants.models import TenantDatabase, TenantServer
from app.domains.tenants.service import directory, servers
from app.factory import SEALED_COLUMNS
from embedded.vault import VaultServer
from tests.cast import House, Person, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere
from tests.core.live import environment_of
from tests.domains.documents.files import upload
from tests.integrations.vault.rooms import Strongroom
from tests.paths import PROJECT
from tests.tenancy.laboratory import Laboratory, laboratory, until

MAIN = [column for column in SEALED_COLUMNS if issubclass(column.model, MainModel)]


@pytest.fixture(scope="module")
def lab(
    sealable_room: Strongroom,
    server_urls: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Laboratory]:
    """An installation whose secrets are sealed by Vault."""
    folder = tmp_path_factory.mktemp("files")
    with laboratory(server_urls, folder, **sealable_room.changes()) as made, made.app.app_context():
        yield made
        made.app.extensions["vault"].close()


@pytest.fixture(scope="module")
def alice(lab: Laboratory) -> Person:
    return new_person(lab.app, "Alice")


@pytest.fixture
def process(lab: Laboratory) -> Iterator[Flask]:
    """Another process of the same installation, which has opened nothing yet."""
    with another_app(lab.settings) as app:
        yield app
        app.extensions["vault"].close()


def house_of(lab: Laboratory, owner: Person, name: str) -> House:
    new = {"name": name.title(), "slug": f"{name}-{lab.settings.installation_id}"}
    answer = owner.post("/api/tenants", json=new)
    assert answer.status_code == 201, answer.text
    made = answer.get_json()
    location = directory.TenantRegistry().locate_tenant(made["id"])
    return House(location.tenant_id, made["slug"], location.database)


def kinds() -> dict[str, int]:
    return dict(service.count_kinds(MAIN, platform_session))


def readiness(app: Flask) -> tuple[int, Any, Any]:
    answer = app.test_client().get("/health/ready")
    told = answer.get_json()
    return answer.status_code, told["status"], told["parts"]["vault"]["status"]


def test_what_is_held_goes_on_while_vault_is_sealed(
    lab: Laboratory, alice: Person, process: Flask, sealable: VaultServer
) -> None:
    acme = house_of(lab, alice, "acme")
    globex = house_of(lab, alice, "globex")
    assert set(kinds()) == {"vault v1"}
    there = elsewhere(alice, process)
    upload(there, acme)
    with platform_session() as session:  # as if workers ran here
        for queue in QUEUES:
            canaries.note(session, queue=queue)
    assert readiness(process) == (200, "ready", "up")
    sealable.root().sys.seal()
    try:
        assert readiness(process) == (200, "degraded", "away")
        assert process.test_client().get("/health").status_code == 200
        # Also over connections that are made only now, and for people who sign in now.
        process.extensions["tenancy"].pool.close_tenant(acme.database)
        assert there.again().get(acme.documents).get_json()["items"]
        # A request that did its work does not fail because its answer is to be kept.
        once = {"Idempotency-Key": "once"}
        sent = [there.post(acme.documents, data=a_file(), headers=once) for _ in range(2)]
        assert [each.status_code for each in sent] == [201, 201]
        assert sent[0].get_json() == sent[1].get_json()
        answer = there.get(globex.documents)
        refusal(answer, 503, "vault_unavailable")
        assert answer.headers["Retry-After"] == "5"
        new = {"name": "Initech", "slug": f"initech-{lab.settings.installation_id}"}
        refusal(there.post("/api/tenants", json=new), 503, "vault_unavailable")
    finally:
        sealable.unseal()
    until(lambda: there.get(globex.documents).status_code == 200, "Vault's return")
    assert readiness(process) == (200, "ready", "up")
    assert there.post("/api/tenants", json=new).status_code == 201


def a_file() -> dict[str, Any]:
    return {"file": (io.BytesIO(b"plans"), "more plans.txt", "text/plain")}


def test_a_rotation_is_followed_by_the_job(
    lab: Laboratory, alice: Person, process: Flask, sealable_room: Strongroom
) -> None:
    """Nobody notices; the times of the rows stay as they were."""
    house = house_of(lab, alice, "umbrella")
    there = elsewhere(alice, process)
    upload(there, house)
    before = changed_at()
    access = sealable_room.access
    sealable_room.root.secrets.transit.rotate_key(
        access.vault_transit_key, mount_point=access.vault_transit_mount
    )
    with process.app_context():
        tasks.reseal()
    assert set(kinds()) == {"vault v2"}
    assert changed_at() == before
    assert by_script(lab, "--status").keys() == {"vault v2"}
    assert there.get(house.documents).status_code == 200
    assert alice.get(house.documents).status_code == 200


def by_script(lab: Laboratory, *arguments: str) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, str(PROJECT / "scripts" / "reseal_secrets.py"), *arguments, "--json"],
        env=environment_of(lab.settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def changed_at() -> list[Any]:
    with platform_session() as session:
        return list(session.scalars(select(TenantDatabase.updated_at)))


def test_from_fernet_into_vault_and_back(lab: Laboratory, alice: Person) -> None:
    """Of every sealed column; a secret that nobody can open is named, and left as it is."""
    house = house_of(lab, alice, "hooli")
    with platform_session() as session:
        servers.add(
            session,
            lab.app.extensions["secrets"],
            name="db2",
            provisioner_url="postgresql://provisioner@nowhere/postgres",
            region=None,
            capacity=0,
        )
    boxes = lab.app.extensions["secrets"]
    total = sum(kinds().values())
    for kind, expected in (("fernet", {"fernet"}), ("vault", {"vault v1", "vault v2"})):
        outcome = Outcome()
        service.reseal(boxes.sealing_by(kind), MAIN, platform_session, outcome)
        assert (outcome.looked_at, outcome.resealed, outcome.unreadable) == (total, total, [])
        assert set(kinds()) <= expected
        assert alice.get(house.documents).status_code == 200
    foreign = FernetBox(["A" * 43 + "="]).seal("x", context="y")
    with platform_session() as session:
        session.execute(
            text("UPDATE tenant_servers SET sealed_url = :sealed WHERE name = 'db2'"),
            {"sealed": foreign},
        )
    outcome = Outcome()
    service.reseal(boxes, MAIN, platform_session, outcome)
    with platform_session() as session:
        session.execute(delete(TenantServer).where(TenantServer.name == "db2"))
    assert len(outcome.unreadable) == 1
    assert outcome.unreadable[0].startswith("tenant_servers.sealed_url ")


def test_what_is_written_meanwhile_is_not_overwritten(lab: Laboratory, alice: Person) -> None:
    house = house_of(lab, alice, "stark")
    boxes: SecretBox = lab.app.extensions["secrets"]
    newest: dict[str, str] = {}

    class Slow:
        """Somebody gives the tenant a new login while its old one is being sealed anew."""

        def seal(self, secret: str, *, context: str) -> str:
            return boxes.seal(secret, context=context)

        def open(self, sealed: str, *, context: str) -> str:
            return boxes.open(sealed, context=context)

        def resealed(self, sealed: str, *, context: str) -> str | None:
            if context == str(house.id):
                newest["login"] = self.seal("another", context=context)
                with platform_session() as session:
                    row = session.get_one(TenantDatabase, house.id)
                    row.sealed_credentials = newest["login"]
            return self.seal(self.open(sealed, context=context), context=context)

    logins = [column for column in MAIN if column.model is TenantDatabase]
    service.reseal(Slow(), logins, platform_session, Outcome())
    with platform_session() as session:
        assert session.get_one(TenantDatabase, house.id).sealed_credentials == newest["login"]
