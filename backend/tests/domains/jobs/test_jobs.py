"""Due work: a row that is written with its cause and runs until it is done or given up."""

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.exc import ProgrammingError

from app.core import clock, ids
from app.core.db import MainSession, main_session, platform_session
from app.core.errors import Conflict
from app.core.tasks import NoTenantInMessage
from app.domains.identity.models import User
from app.domains.jobs import queries
from app.domains.jobs import service as jobs
from app.domains.jobs.models import Job
from app.domains.jobs.service import rounds, running
from app.domains.tenants.service import deletion, lifecycle
from app.integrations.storage import current_storage
from app.settings import Settings
from app.tenancy.manager import current_manager
from embedded.ports import free_port
from tests.cast import House, new_house, new_person
from tests.core.apps import another_app
from tests.domains.jobs.conftest import ATTEMPTS
from tests.domains.jobs.probes import told

Read = Callable[[UUID], Job]
LATER = timedelta(hours=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "told"


@pytest.fixture
def house(here: Flask) -> House:
    return new_house("jobs", new_person(here, "Alice"))


@pytest.fixture
def messages(here: Flask) -> Iterator[Callable[[str], list[UUID]]]:
    """The ids of the jobs that a queue's messages name."""
    with here.extensions["celery"].connection_for_read() as connection:
        client = connection.default_channel.client
        client.flushdb()

        def waiting(queue: str) -> list[UUID]:
            bodies = [json.loads(raw)["body"] for raw in client.lrange(queue, 0, -1)]
            decode = here.extensions["celery"].connection_for_read().default_channel.decode_body
            return [UUID(json.loads(decode(body, "base64"))[1]["job_id"]) for body in bodies]

        yield waiting


def schedule(name: str, *, tenant_id: UUID | None = None, **more: Any) -> UUID:
    with main_session(tenant_id=tenant_id) as session:
        return jobs.schedule(session, name, tenant_id=tenant_id, **more)


def run(app: Flask, job_id: UUID) -> None:
    """What a worker does with the message."""
    app.extensions["celery"].tasks["jobs.run"].apply(kwargs={"job_id": str(job_id)}).get()


def sweep(app: Flask) -> int:
    """What the scheduler does every few seconds."""
    return rounds.sweep(app.extensions["settings"])


def make_due(job_id: UUID) -> None:
    change(job_id, due_at=clock.now() - timedelta(minutes=1))


def change(job_id: UUID, **values: Any) -> None:
    with platform_session() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**values))


# The row.


def test_the_row_is_written_with_the_cause_and_told_after_the_commit(
    here: Flask, read: Read, path: Path, messages: Callable[[str], list[UUID]]
) -> None:
    with main_session() as session:
        job_id = jobs.schedule(session, "jobs.note", path=str(path))
        assert messages("default") == []
    job = read(job_id)
    assert (job.name, job.queue, job.state, job.attempts) == ("jobs.note", "default", "waiting", 0)
    assert (job.tenant_id, job.arguments) == (None, {"path": str(path)})
    assert messages("default") == [job_id]
    run(here, job_id)
    job = read(job_id)
    assert (job.state, job.attempts, job.last_error) == ("done", 1, None)
    assert job.finished_at is not None
    assert told(path) == ["None"]


def test_without_the_commit_there_is_neither_row_nor_message(
    here: Flask, path: Path, messages: Callable[[str], list[UUID]]
) -> None:
    written: list[UUID] = []

    def change_ones_mind() -> None:
        with main_session() as session:
            written.append(jobs.schedule(session, "jobs.note", path=str(path)))
            raise Conflict("no")

    with pytest.raises(Conflict):
        change_ones_mind()
    with platform_session() as session:
        assert session.get(Job, written[0]) is None
    assert messages("default") == []


def test_a_slot_is_given_once(here: Flask, house: House, path: Path) -> None:
    slot = f"today-{ids.new_id()}"

    def once(name: str, tenant_id: UUID | None = None) -> bool:
        with main_session(tenant_id=tenant_id) as session:
            return jobs.schedule_once(session, name, slot=slot, tenant_id=tenant_id, path=str(path))

    assert [once("jobs.note"), once("jobs.note"), once("jobs.several")] == [True, False, True]
    assert [once("jobs.note", house.id), once("jobs.note", house.id)] == [True, False]


def test_the_application_only_adds_rows_of_its_tenant_or_of_none(
    here: Flask, house: House, path: Path
) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), main_session() as session:
        jobs.schedule(session, "jobs.tenant", tenant_id=house.id, path=str(path))
    for statement in (select(Job.id), update(Job).values(state="done")):
        with pytest.raises(ProgrammingError, match="permission denied"), main_session() as session:
            session.execute(statement)


def test_what_nobody_can_run_is_refused(here: Flask, path: Path) -> None:
    with pytest.raises(KeyError):
        schedule("jobs.unheard_of")
    with pytest.raises(NoTenantInMessage):
        schedule("jobs.tenant", path=str(path))


# Planes.


def test_each_plane_has_its_session(here: Flask, house: House, path: Path) -> None:
    for name in ("jobs.note", "jobs.tenant", "jobs.several"):
        run(here, schedule(name, tenant_id=house.id, path=str(path)))
    assert told(path) == [str(house.id), house.database, "no session"]


def test_a_row_of_the_tenant_plane_without_a_tenant_does_not_run(
    here: Flask, house: House, read: Read, path: Path
) -> None:
    job_id = schedule("jobs.tenant", tenant_id=house.id, path=str(path))
    change(job_id, tenant_id=None)
    run(here, job_id)
    assert read(job_id).last_error == "NoTenantInMessage: jobs.tenant"
    assert told(path) == []


def test_a_purged_tenants_job_ends(here: Flask, house: House, read: Read, path: Path) -> None:
    job_id = schedule("jobs.tenant", tenant_id=house.id, path=str(path))
    deletion.purge(current_manager(), current_storage(), tenant_id=house.id)
    run(here, job_id)
    job = read(job_id)
    assert (job.state, job.last_error) == ("dropped", "TenantGone: There is no such tenant.")
    assert told(path) == []


def test_a_suspended_tenants_job_waits(here: Flask, house: House, read: Read, path: Path) -> None:
    job_id = schedule("jobs.tenant", tenant_id=house.id, path=str(path))
    lifecycle.suspend(current_manager(), tenant_id=house.id)
    for _ in range(ATTEMPTS + 1):
        make_due(job_id)
        run(here, job_id)
    job = read(job_id)
    assert (job.state, job.attempts) == ("waiting", 0)
    assert job.due_at > clock.now()
    lifecycle.resume(current_manager(), tenant_id=house.id)
    make_due(job_id)
    run(here, job_id)
    assert read(job_id).state == "done"
    assert told(path) == [house.database]


# Later.


def test_what_is_due_later_runs_later(
    here: Flask, read: Read, path: Path, messages: Callable[[str], list[UUID]]
) -> None:
    job_id = schedule("jobs.note", due_at=clock.now() + LATER, path=str(path))
    sweep(here)
    assert job_id not in messages("default")
    run(here, job_id)
    assert read(job_id).state == "waiting"
    make_due(job_id)
    sweep(here)
    assert job_id in messages("default")
    run(here, job_id)
    assert told(path) == ["None"]


def test_a_worker_is_not_told_again_at_once_and_is_told_again(
    here: Flask, path: Path, messages: Callable[[str], list[UUID]]
) -> None:
    job_id = schedule("jobs.note", path=str(path))
    sweep(here)
    assert messages("default").count(job_id) == 1
    change(job_id, hinted_at=clock.now() - timedelta(minutes=1))
    sweep(here)
    sweep(here)
    assert messages("default").count(job_id) == 2


def test_redis_holds_few_of_many_due_jobs(
    here: Flask,
    path: Path,
    messages: Callable[[str], list[UUID]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounds, "_DEPTH", 2)
    due_at = clock.now() + LATER
    job_ids = [schedule("jobs.note", due_at=due_at, path=str(path)) for _ in range(3)]
    for job_id in job_ids:
        make_due(job_id)
    sweep(here)
    sweep(here)
    assert len(messages("default")) == 2
    for job_id in messages("default"):
        change(job_id, state="done")


# At once.


def run_together(app: Flask, job_id: UUID, workers: int = 4) -> None:
    with ThreadPoolExecutor(workers) as pool:
        tries = [pool.submit(copy_context().run, run, app, job_id) for _ in range(workers)]
        for each in tries:
            each.result(timeout=30)


def test_of_many_workers_one_runs_it(here: Flask, read: Read, path: Path) -> None:
    job_id = schedule("jobs.note", path=str(path))
    run_together(here, job_id)
    assert told(path) == ["None"]
    assert read(job_id).attempts == 1


def test_without_the_lock_two_would(
    here: Flask, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: both have read the row before either writes to it."""
    both = Barrier(2, timeout=10)

    def unlocked(session: MainSession, job_id: UUID) -> Job | None:
        job = session.scalar(queries._due().where(Job.id == job_id))
        both.wait()
        return job

    monkeypatch.setattr(queries, "due_job_for_change", unlocked)
    run_together(here, schedule("jobs.note", path=str(path)), workers=2)
    assert told(path) == ["None", "None"]


def test_a_sweep_passes_over_what_another_has(
    here: Flask, path: Path, messages: Callable[[str], list[UUID]]
) -> None:
    job_id = schedule("jobs.note", path=str(path))
    change(job_id, hinted_at=None)
    with platform_session() as session:
        silence = timedelta(minutes=1)
        found = queries.untold_jobs_for_change(
            session, queue="default", silence=silence, limit=1000
        )
        assert job_id in [job.id for job in found]
        sweep(here)
        assert messages("default").count(job_id) == 1  # the one of its making
    sweep(here)
    assert messages("default").count(job_id) == 2


# Failing.


def test_a_job_that_fails_is_tried_again_later_and_leaves_nothing(here: Flask, read: Read) -> None:
    job_id = schedule("jobs.half", user_id=(user_id := str(ids.new_id())))
    run(here, job_id)
    job = read(job_id)
    assert (job.state, job.attempts) == ("waiting", 1)
    with main_session() as session:
        assert session.get(User, UUID(user_id)) is None


def test_a_poisoned_job_is_given_up_with_its_error(here: Flask, read: Read) -> None:
    job_id = schedule("jobs.half", user_id=str(ids.new_id()))
    for _ in range(ATTEMPTS + 2):
        run(here, job_id)
        if read(job_id).state == "waiting":
            make_due(job_id)
    job = read(job_id)
    assert (job.state, job.attempts) == ("failed", ATTEMPTS)
    assert job.last_error == "LookupError: poisoned"
    assert job.finished_at is not None


def test_an_error_that_no_table_can_hold_is_written_all_the_same(here: Flask, read: Read) -> None:
    run(here, job_id := schedule("jobs.unprintable"))
    error = read(job_id).last_error
    assert error is not None
    assert error.startswith("ValueError: \N{REPLACEMENT CHARACTER}xxx")
    assert len(error) == 500
    assert running._told(ValueError("\ud800")) == "ValueError: ?"


def test_a_name_that_this_release_does_not_know_is_tried_again(here: Flask, read: Read) -> None:
    """The row is a newer release's, whose workers are about to start."""
    job_id = schedule("jobs.half", user_id=str(ids.new_id()))
    change(job_id, name="jobs.of_tomorrow")
    run(here, job_id)
    assert (read(job_id).state, read(job_id).last_error) == (
        "waiting",
        "KeyError: 'jobs.of_tomorrow'",
    )


def test_the_pause_grows_and_has_an_end(own: Settings) -> None:
    settings = own.model_copy(update={"job_back_off_seconds": 10.0})
    for attempts, longest in ((1, 10), (2, 20), (3, 40), (9, 2560), (10, 3600), (99, 3600)):
        pause = running._back_off(attempts, settings).total_seconds()
        assert longest / 2 <= pause <= longest


# Silence.


def test_a_job_whose_worker_is_silent_is_anothers(here: Flask, read: Read, path: Path) -> None:
    job_id = schedule("jobs.note", path=str(path))
    change(job_id, state="running", attempts=1, due_at=clock.now() + LATER)
    run(here, job_id)
    assert told(path) == []
    make_due(job_id)
    run(here, job_id)
    assert told(path) == ["None"]
    job = read(job_id)
    assert (job.state, job.attempts) == ("done", 2)
    assert job.last_error == "its worker did not come back"


def test_a_job_that_kills_its_workers_is_given_up(here: Flask, read: Read, path: Path) -> None:
    job_id = schedule("jobs.note", path=str(path))
    change(job_id, state="running", attempts=ATTEMPTS, due_at=clock.now() - LATER)
    run(here, job_id)
    job = read(job_id)
    assert (job.state, job.last_error) == ("failed", "its worker did not come back")
    assert told(path) == []


def test_one_that_was_taken_for_dead_decides_nothing(
    here: Flask, own: Settings, read: Read, path: Path
) -> None:
    job_id = schedule("jobs.note", path=str(path))
    claim = running._claim(job_id, own)
    assert claim is not None
    make_due(job_id)
    second = running._claim(job_id, own)
    assert second is not None
    running._settle(claim, LookupError("late"), own)
    assert not running._renew(claim, own)
    assert (read(job_id).state, read(job_id).attempts) == ("running", 2)
    running._settle(second, None, own)
    assert read(job_id).state == "done"


# Without Redis.


@pytest.fixture
def closed() -> str:
    """Nobody listens there."""
    return f"redis://127.0.0.1:{free_port()}/0"


@pytest.fixture
def silent() -> Iterator[str]:
    """Somebody listens there and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@pytest.mark.parametrize("away", ["closed", "silent"])
def test_what_was_scheduled_without_redis_is_told_when_it_is_back(
    *,
    here: Flask,
    own: Settings,
    read: Read,
    path: Path,
    messages: Callable[[str], list[UUID]],
    request: pytest.FixtureRequest,
    away: str,
) -> None:
    nowhere = SecretStr(request.getfixturevalue(away))
    with another_app(own, redis_url=nowhere) as app, app.app_context():
        job_id = schedule("jobs.note", path=str(path))
        later = schedule("jobs.note", due_at=clock.now() + LATER, path=str(path))
        make_due(later)
        assert sweep(app) == 0
        app.extensions["celery"].pool.force_close_all()
    assert read(later).hinted_at is None
    change(job_id, hinted_at=clock.now() - timedelta(minutes=1))
    sweep(here)
    assert {job_id, later} <= set(messages("default"))
