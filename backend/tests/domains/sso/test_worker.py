"""Tokens renewed by Celery's workers: once for all of them, and none lost by a kill."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import func, select, update

from app.core import clock
from app.core.db import main_session, platform_session
from app.domains.jobs import service as jobs
from app.domains.jobs.models import Job, JobState
from app.domains.jobs.service import rounds
from app.domains.sso.service import upkeep
from app.settings import Settings
from embedded.process import ChildProcess
from tests.core.apps import another_app
from tests.core.live import running_worker
from tests.domains.sso.connections import PROFILE, Connection
from tests.embedded.processes import descendants, wait_for


@pytest.fixture(scope="module")
def own(server_urls: dict[str, str], sso_settings: Settings) -> Settings:
    """With a Redis database that no other test, and no other process's worker, uses."""
    if not server_urls.get("oidc"):
        pytest.skip("takes a while: scripts/services.py run")
    url, _, database = sso_settings.redis_url.get_secret_value().rpartition("/")
    return sso_settings.model_copy(update={"redis_url": SecretStr(f"{url}/{15 - int(database)}")})


@pytest.fixture(scope="module")
def sender(sso_app: Flask, own: Settings) -> Iterator[Flask]:
    """An instance that sends its jobs to the workers."""
    with another_app(own) as sender:
        with sender.extensions["celery"].connection_for_write() as connection:
            connection.default_channel.client.flushdb()
        yield sender
        sender.extensions["celery"].pool.force_close_all()


@pytest.fixture
def workers(sender: Flask, own: Settings, tmp_path: Path) -> Iterator[list[ChildProcess]]:
    """Two, of two processes each."""
    with ExitStack() as stack:
        folders = [tmp_path / name for name in ("one", "two")]
        for folder in folders:
            folder.mkdir()
        yield [stack.enter_context(running_worker(own, folder)) for folder in folders]


def ask(sender: Flask, connection: Connection, times: int = 1) -> list[UUID]:
    """So many jobs that renew the person's tokens, due at once."""
    tenant = str(connection.company.house.id)
    with sender.app_context(), main_session() as session:
        return [
            jobs.schedule(
                session, "sso.refresh_identity", identity=str(connection.id), tenant=tenant
            )
            for _ in range(times)
        ]


def states(job_ids: list[UUID]) -> set[str]:
    with platform_session() as session:
        return set(session.scalars(select(Job.state).where(Job.id.in_(job_ids))))


def test_workers_renew_each_token_once_and_a_killed_one_loses_nothing(
    sender: Flask, own: Settings, workers: list[ChildProcess], connection: Connection
) -> None:
    directory = connection.company.directory
    connection.change(access_expires_at=clock.now() + timedelta(minutes=5))
    round_of_schedule(sender, own, connection)
    wait_for(lambda: connection.expires_after(timedelta(minutes=50)))
    # Four processes at once.
    before = connection.row
    directory.slow_seconds = 1.0
    connection.expire()
    done = ask(sender, connection, times=4)
    wait_for(lambda: states(done) == {JobState.DONE})
    renewed = connection.row
    assert (connection.refreshes, renewed.version) == (2, before.version + 1)
    # All are killed while the directory is about to answer.
    directory.slow_seconds = 4.0
    connection.expire()
    cut = ask(sender, connection)
    wait_for(lambda: connection.refreshes == 3)
    for worker in workers:
        for pid in (worker.pid, *descendants(worker.pid)):
            os.kill(pid, signal.SIGKILL)
    directory.slow_seconds = 0
    left = connection.row
    assert (left.version, left.sealed_cache) == (renewed.version, renewed.sealed_cache)
    assert states(cut) == {JobState.RUNNING}
    connection.change(refreshing_until=clock.now())
    assert connection.get(PROFILE).status_code == 200


def round_of_schedule(sender: Flask, own: Settings, connection: Connection) -> None:
    """What the scheduler does each minute, without the time over which jobs are spread."""
    with sender.app_context():
        with platform_session() as session:
            upkeep.schedule_refreshes(session, own)
            session.flush()
            session.execute(
                update(Job)
                .where(Job.arguments["identity"].astext == str(connection.id))
                .values(due_at=func.now())
            )
        rounds.sweep(own)
