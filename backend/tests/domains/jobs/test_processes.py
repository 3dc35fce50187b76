"""Due work in real processes that are killed, over a real Redis that is emptied and stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import ColumnElement, delete, func, select

from app.core.db import main_session, platform_session
from app.core.tasks import QUEUES
from app.domains.jobs import service as jobs
from app.domains.jobs.models import CANARY, OPEN, Canary, Job
from app.domains.jobs.service import canaries
from app.settings import Settings
from embedded.process import ChildProcess
from embedded.valkey import ValkeyServer
from tests.core.live import environment_of, running_scheduler, running_worker
from tests.domains.jobs.conftest import ATTEMPTS
from tests.domains.jobs.probes import told
from tests.embedded.processes import descendants, wait_for
from tests.paths import BACKEND

Read = Callable[[UUID], Job]
WORKER = "tests.domains.jobs.probe_worker:celery"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "told"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (folder := tmp_path / "logs").mkdir()
    return folder


@pytest.fixture
def scheduler(sender: Flask, own: Settings, folder: Path) -> Iterator[ChildProcess]:
    with running_scheduler(own, folder) as scheduler:
        yield scheduler


@pytest.fixture
def worker(sender: Flask, own: Settings, folder: Path) -> Iterator[ChildProcess]:
    with running_worker(own, folder, WORKER) as worker:
        yield worker


def schedule(name: str, path: Path) -> UUID:
    with main_session() as session:
        return jobs.schedule(session, name, path=str(path))


def kill(worker: ChildProcess) -> None:
    """The whole worker, as the end of its machine would."""
    for pid in (worker.pid, *descendants(worker.pid)):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not worker.alive)


def test_what_a_killed_worker_had_is_done_once_more(
    *, here: Flask, own: Settings, scheduler: ChildProcess, folder: Path, path: Path, read: Read
) -> None:
    with running_worker(own, folder, WORKER) as first:
        job_id = schedule("jobs.slow", path)
        wait_for(lambda: told(path) == ["began"])
        kill(first)
    path.with_name(f"{path.name}.go").touch()
    with running_worker(own, folder, WORKER):
        wait_for(lambda: read(job_id).state == "done", seconds=30)
    assert told(path) == ["began", "began", "ended"]
    assert read(job_id).attempts == 2


def test_without_the_sweep_it_would_not(
    here: Flask, own: Settings, folder: Path, path: Path, read: Read
) -> None:
    """The control: the message comes back after an hour at the earliest."""
    with running_worker(own, folder, WORKER) as first:
        job_id = schedule("jobs.slow", path)
        wait_for(lambda: told(path) == ["began"])
        kill(first)
    path.with_name(f"{path.name}.go").touch()
    with running_worker(own, folder, WORKER):
        later = schedule("jobs.note", path)
        wait_for(lambda: read(later).state == "done")
        assert read(job_id).state == "running"
        assert "ended" not in told(path)


def test_a_long_job_keeps_its_lease(
    *,
    here: Flask,
    own: Settings,
    scheduler: ChildProcess,
    worker: ChildProcess,
    path: Path,
    read: Read,
) -> None:
    """It is due again only when its worker falls silent, however long it takes."""
    job_id = schedule("jobs.slow", path)
    wait_for(lambda: told(path) == ["began"])
    assert "Task jobs.slow[" in worker.words()
    first = read(job_id).due_at
    wait_for(lambda: read(job_id).due_at > first)
    second = read(job_id).due_at
    wait_for(lambda: read(job_id).due_at > second)
    path.with_name(f"{path.name}.go").touch()
    wait_for(lambda: read(job_id).state == "done")
    assert told(path) == ["began", "ended"]
    assert read(job_id).attempts == 1


def test_a_job_that_kills_its_worker_is_given_up(
    *, here: Flask, scheduler: ChildProcess, worker: ChildProcess, path: Path, read: Read
) -> None:
    job_id = schedule("jobs.deadly", path)
    wait_for(lambda: read(job_id).state == "failed")
    assert told(path) == ["began"] * ATTEMPTS
    assert read(job_id).last_error == "its worker did not come back"


def test_jobs_run_though_redis_was_emptied_and_away(
    *,
    here: Flask,
    own: Settings,
    valkey: ValkeyServer,
    scheduler: ChildProcess,
    folder: Path,
    path: Path,
    read: Read,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = schedule("jobs.note", path)
    with here.extensions["celery"].connection_for_write() as connection:
        connection.default_channel.client.flushall()
    valkey.stop()
    second = schedule("jobs.note", path)
    assert {read(job_id).state, read(second).state} == {"waiting"}
    monkeypatch.setattr(valkey, "_port_is_ours_to_choose", False)
    valkey.start()
    with running_worker(own, folder, WORKER):
        wait_for(lambda: len(told(path)) == 2)
        wait_for(lambda: {read(job_id).state, read(second).state} == {"done"})


def test_a_canary_comes_through_each_queue(
    here: Flask, own: Settings, scheduler: ChildProcess, folder: Path
) -> None:
    """Not without a worker; and one that was away for long is not held up by old ones."""
    mine = Job.name.startswith(CANARY)
    with platform_session() as session:
        session.execute(delete(Job).where(mine))
        session.execute(delete(Canary))
    wait_for(lambda: count(mine) == len(QUEUES))
    with platform_session() as session:
        assert set(canaries.ages(session).values()) == {float("inf")}
        jobs.schedule_once(session, f"{CANARY}sso", slot="of long ago")
    with running_worker(own, folder, WORKER):
        wait_for(lambda: not count(mine, Job.state.in_(OPEN)))
    with platform_session() as session:
        assert max(canaries.ages(session).values()) < 60
    assert count(mine, Job.state == "dropped") <= 1


def count(*conditions: ColumnElement[bool]) -> int:
    with platform_session() as session:
        return session.scalar(select(func.count()).select_from(Job).where(*conditions)) or 0


@pytest.mark.parametrize("program", ["celery_worker.py", "scheduler.py"])
def test_without_the_platforms_role_none_starts(own: Settings, program: str) -> None:
    environment = environment_of(own.model_copy(update={"database_platform_url": None}))
    done = subprocess.run(
        [sys.executable, program],
        cwd=BACKEND,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "DATABASE_PLATFORM_URL" in done.stderr
