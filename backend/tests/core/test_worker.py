"""Jobs in a real worker process, over the real broker."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import select

from app.domains.documents.models import File
from app.settings import Settings
from app.tenancy.manager import current_manager
from embedded.process import ChildProcess
from tests.cast import PASSWORD, House, Person, new_house, new_person
from tests.core.apps import another_app
from tests.core.live import running_worker
from tests.domains.documents.files import delete_for_good, stored, upload
from tests.embedded.processes import wait_for


@pytest.fixture(scope="module")
def own(settings: Settings) -> Settings:
    """With a Redis database that no other test, and no other process's worker, uses."""
    url, _, database = settings.redis_url.get_secret_value().rpartition("/")
    return settings.model_copy(update={"redis_url": SecretStr(f"{url}/{15 - int(database)}")})


@pytest.fixture(scope="module")
def sender(app: Flask, own: Settings) -> Iterator[Flask]:
    """An instance that sends its jobs to the worker."""
    with another_app(own) as sender:
        with sender.extensions["celery"].connection_for_write() as connection:
            connection.default_channel.client.flushdb()
        yield sender
        sender.extensions["celery"].pool.force_close_all()


@pytest.fixture(scope="module")
def worker(
    sender: Flask, own: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChildProcess]:
    with running_worker(own, tmp_path_factory.mktemp("logs")) as worker:
        yield worker


@pytest.fixture(scope="module")
def owner(sender: Flask) -> Person:
    with sender.app_context():
        return new_person(sender, "Alice")


@pytest.fixture
def house(sender: Flask, owner: Person) -> House:
    with sender.app_context():
        return new_house("jobs", owner)


def file_states(sender: Flask, house: House) -> dict[UUID, str]:
    with sender.app_context(), current_manager().tenant_db_session(house.database) as session:
        return {file.id: file.state for file in session.scalars(select(File))}


def delete(owner: Person, house: House, document: dict[str, Any]) -> None:
    assert delete_for_good(owner, house, document["id"]) == 204


def lines(worker: ChildProcess) -> list[dict[str, Any]]:
    """What the worker logged as JSON; Celery's own banner is none."""
    return [json.loads(line) for line in worker.words().splitlines() if line.startswith("{")]


def test_a_deleted_documents_bytes_are_erased(
    own: Settings, sender: Flask, worker: ChildProcess, owner: Person, house: House
) -> None:
    first, second = upload(owner, house), upload(owner, house)
    wait_for(lambda: len(stored(own, house)) == 1)  # the second one's were there already
    delete(owner, house, first)
    kept = upload(owner, house, b"kept")
    delete(owner, house, second)
    wait_for(lambda: len(stored(own, house)) == 1)
    wait_for(lambda: list(file_states(sender, house).values()) == ["available"])
    assert owner.get(f"{house.documents}/{kept['id']}/download").data == b"kept"


def test_a_message_that_names_no_tenant_is_refused(
    own: Settings, sender: Flask, worker: ChildProcess, owner: Person, house: House
) -> None:
    """Nor does the worker fall back to the tenant of the job before it."""
    upload(owner, house)
    delete(owner, house, upload(owner, house, b"a job with a tenant, first"))
    wait_for(lambda: len(stored(own, house)) == 1)
    celery = sender.extensions["celery"]
    seen = worker.words().count("NoTenantInMessage")
    for headers in ({}, {"tenant": None}, {"Tenant": str(house.id)}):
        celery.send_task("documents.sweep_files", queue="documents", headers=headers)
    wait_for(lambda: worker.words().count("NoTenantInMessage") >= seen + 3)
    assert len(stored(own, house)) == 1


def test_a_job_waits_until_the_store_is_back(
    own: Settings, sender: Flask, worker: ChildProcess, owner: Person, house: House
) -> None:
    """It is tried again later, for the same tenant."""
    document = upload(owner, house)
    (path,) = stored(own, house)
    aside = path.parent.with_name("aside")
    path.parent.rename(aside)
    path.parent.write_bytes(b"not a folder")
    delete(owner, house, document)
    wait_for(lambda: "storage_unavailable" in worker.words() or "Retry" in worker.words())
    path.parent.unlink()
    aside.rename(path.parent)
    wait_for(lambda: not stored(own, house), seconds=40)
    wait_for(lambda: not file_states(sender, house))


def test_a_job_for_nobody_fails_and_no_other_waits_behind_it(
    own: Settings, sender: Flask, worker: ChildProcess, owner: Person, house: House
) -> None:
    celery = sender.extensions["celery"]
    for tenant in (str(uuid4()), "no id"):
        celery.send_task("documents.sweep_files", queue="documents", headers={"tenant": tenant})
    celery.send_task("documents.unheard_of", queue="documents", headers={"tenant": str(house.id)})
    celery.send_task(
        "documents.erase_file",
        queue="documents",
        headers={"tenant": str(house.id)},
        kwargs={"file_id": str(uuid4()), "admin": "true"},
    )
    delete(owner, house, upload(owner, house))
    wait_for(lambda: not stored(own, house))


def test_a_job_cannot_reach_another_tenants_file(
    own: Settings, sender: Flask, worker: ChildProcess, owner: Person, house: House
) -> None:
    """The tenant of the message decides, whatever id is in it."""
    with sender.app_context():
        other = new_house("other", owner)
    delete(owner, other, upload(owner, other))
    wait_for(lambda: not stored(own, other))
    upload(owner, house)
    (file_id,) = file_states(sender, house)
    sender.extensions["celery"].send_task(
        "documents.erase_file",
        queue="documents",
        headers={"tenant": str(other.id)},
        kwargs={"file_id": str(file_id)},
    )
    delete(owner, other, upload(owner, other))  # a later job, so the one before it is done
    wait_for(lambda: not stored(own, other))
    assert len(stored(own, house)) == 1


def test_the_log_is_json_and_holds_no_secret(
    own: Settings, worker: ChildProcess, owner: Person, house: House
) -> None:
    delete(owner, house, upload(owner, house))
    wait_for(lambda: not stored(own, house))
    told = lines(worker)
    assert any("documents.erase_file" in line["message"] for line in told)
    assert all({"time", "level", "logger", "message"} <= set(line) for line in told)
    text = worker.words()
    for secret in (
        PASSWORD,
        owner.tokens["access_token"],
        own.secret_key.get_secret_value(),
        own.secrets_keys[0].get_secret_value(),
        urlsplit(own.database_url.get_secret_value()).password,
        urlsplit(own.redis_url.get_secret_value()).password,
    ):
        assert not secret or secret not in text
