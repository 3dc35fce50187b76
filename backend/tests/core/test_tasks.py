"""Jobs: sent after the commit, for one tenant, by a written name."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select

from app.core import ids
from app.core.db import main_session
from app.core.errors import Conflict
from app.core.events import Origin, originating
from app.core.tasks import DEFINITIONS, NoTenantInMessage, enqueue_after_commit, hint, task
from app.domains.documents.models import File
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import Cast, House
from tests.core.apps import another_app
from tests.domains.documents.files import delete_for_good, upload

# Those that a message may name.
TENANT_JOBS = {name for name, each in DEFINITIONS.items() if each.plane == "tenant"}


@pytest.fixture
def queue(app: Flask) -> Iterator[Any]:
    """The queue of documents' jobs, empty."""
    with app.extensions["celery"].connection_for_read() as connection:
        channel = connection.default_channel
        channel.client.delete("documents")
        yield lambda: [json.loads(raw) for raw in channel.client.lrange("documents", 0, -1)]
        channel.client.delete("documents")


def test_a_job_is_sent_after_the_commit_with_its_tenant(
    context: Flask, cast: Cast, queue: Any
) -> None:
    with current_manager().tenant_db_session(cast.acme.database) as session:
        with originating(Origin(user_id=cast.ada.user_id)):
            enqueue_after_commit(session, "documents.erase_file", file_id="7")
        assert queue() == []
    (message,) = queue()
    assert message["headers"]["tenant"] == str(cast.acme.id)
    assert message["headers"]["user"] == str(cast.ada.user_id)
    assert message["headers"]["task"] == "documents.erase_file"
    assert message["content-type"] == "application/json"


def test_without_the_commit_none_is_sent(context: Flask, cast: Cast, queue: Any) -> None:
    def change_ones_mind() -> None:
        with current_manager().tenant_db_session(cast.acme.database) as session:
            enqueue_after_commit(session, "documents.sweep_files")
            raise Conflict("no")

    with pytest.raises(Conflict):
        change_ones_mind()
    assert queue() == []


def test_a_session_of_no_tenant_sends_none(context: Flask, queue: Any) -> None:
    with pytest.raises(NoTenantInMessage), main_session() as session:
        enqueue_after_commit(session, "documents.sweep_files")
    assert queue() == []


def test_a_job_that_nobody_defined_is_not_sent(context: Flask, cast: Cast, queue: Any) -> None:
    manager = current_manager()
    with pytest.raises(KeyError), manager.tenant_db_session(cast.acme.database) as session:
        enqueue_after_commit(session, "documents.unheard_of")
    assert queue() == []


def test_the_message_about_a_row_bears_its_jobs_name(context: Flask, queue: Any) -> None:
    """Flower and Celery's log show it, instead of the one task that runs them all."""
    assert hint(job_id=ids.new_id(), name="sso.refresh_identity", queue="documents")
    (message,) = queue()
    headers = message["headers"]
    assert (headers["task"], headers["shadow"]) == ("jobs.run", "sso.refresh_identity")


def test_each_application_has_jobs_of_its_own(app: Flask, settings: Settings) -> None:
    with another_app(settings) as other:
        own, others = app.extensions["celery"].tasks, other.extensions["celery"].tasks
        for name in {"jobs.run"} | TENANT_JOBS:
            assert own[name].run is not others[name].run
            assert others[name].app is other.extensions["celery"]


def run(app: Flask, name: str, headers: dict[str, Any] | None, **arguments: str) -> Any:
    """The job in this process, with a message's headers."""
    return app.extensions["celery"].tasks[name].apply(kwargs=arguments, headers=headers)


@pytest.mark.parametrize("headers", [None, {}, {"tenant": None}, {"tenant_id": "x"}])
def test_a_message_without_a_tenant_is_refused(app: Flask, headers: dict[str, Any] | None) -> None:
    assert TENANT_JOBS
    for name in TENANT_JOBS:
        done = run(app, name, headers)
        assert isinstance(done.result, NoTenantInMessage)


@pytest.mark.parametrize("tenant", ["", "acme", str(UUID(int=7))])
def test_a_message_for_a_tenant_that_does_not_exist_fails(app: Flask, tenant: str) -> None:
    assert run(app, "documents.sweep_files", {"tenant": tenant}).failed()


def test_a_job_works_on_its_own_tenant(context: Flask, cast: Cast) -> None:
    def states(house: House) -> set[str]:
        with current_manager().tenant_db_session(house.database) as session:
            return set(session.scalars(select(File.state)))

    person, house = cast.mallory, cast.globex
    document = upload(person, house, b"to be erased")
    delete_for_good(person, house, document["id"])
    with current_manager().tenant_db_session(house.database) as session:
        statement = select(File.id).where(File.state == "deleting")
        file_ids = [str(file_id) for file_id in session.scalars(statement)]
    for file_id in file_ids:
        other = run(context, "documents.erase_file", {"tenant": str(cast.acme.id)}, file_id=file_id)
        assert other.successful()
    assert "deleting" in states(house)
    for file_id in file_ids:
        own = run(context, "documents.erase_file", {"tenant": str(house.id)}, file_id=file_id)
        assert own.successful()
    assert "deleting" not in states(house)


def test_a_message_names_no_job_of_another_plane(app: Flask) -> None:
    """Their rows say what to do; nobody gets round them."""
    ours = {name for name in app.extensions["celery"].tasks if not name.startswith("celery.")}
    assert ours == {"jobs.run"} | TENANT_JOBS


def test_a_queue_that_no_worker_consumes_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no worker consumes"):
        task(name="documents.unheard_of", queue="dokuments")


def test_two_jobs_of_one_name_are_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"documents\.sweep_files"):
        task(name="documents.sweep_files", queue="documents")(lambda: None)


def test_a_job_ends_before_its_message_comes_back(app: Flask) -> None:
    conf = app.extensions["celery"].conf
    assert conf.task_time_limit < conf.broker_transport_options["visibility_timeout"]
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.accept_content == ["json"]
