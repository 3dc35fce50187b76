"""scripts/jobs.py: what an operator sees of due work, and decides."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import update

from app.core import ids
from app.core.db import main_session, platform_session
from app.domains.jobs import service as jobs
from app.domains.jobs.models import Job
from app.settings import Settings
from tests.core.live import environment_of
from tests.paths import PROJECT

Read = Callable[[UUID], Job]


@pytest.fixture
def script(own: Settings) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    def script(*arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, str(PROJECT / "scripts" / "jobs.py"), *map(str, arguments)],
            env=environment_of(own),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return script


def job(state: str, **more: Any) -> UUID:
    with main_session() as session:
        job_id = jobs.schedule(session, "jobs.note", path="/dev/null")
    values = {"state": state, "attempts": 3, "last_error": "LookupError: poisoned"} | more
    with platform_session() as session:
        session.execute(update(Job).where(Job.id == job_id).values(values))
    return job_id


Script = Callable[..., "subprocess.CompletedProcess[str]"]


def test_it_lists_what_is_not_done(here: Flask, script: Script) -> None:
    failed, done = job("failed"), job("done")
    rows = {row["id"]: row for row in json.loads(script("list", "--json").stdout)}
    assert str(done) not in rows
    assert rows[str(failed)]["state"] == "failed"
    assert rows[str(failed)]["last_error"] == "LookupError: poisoned"
    told = script("list", "--state", "done", "--limit", 1)
    assert told.returncode == 0
    assert f"{done}  done     jobs.note  tenant -  attempts 3" in told.stdout
    assert told.stdout.endswith("1 job(s)\n")


def test_it_retries_and_drops(here: Flask, script: Script, read: Read) -> None:
    failed, dropped, waiting = job("failed"), job("dropped"), job("waiting")
    answer = script("retry", failed, dropped, "--json")
    assert answer.returncode == 0, answer.stderr
    assert [row["state"] for row in json.loads(answer.stdout)] == ["waiting", "waiting"]
    for job_id in (failed, dropped):
        now = read(job_id)
        assert (now.state, now.attempts, now.finished_at) == ("waiting", 0, None)
    assert script("drop", failed, dropped, waiting).returncode == 0
    assert {read(job_id).state for job_id in (failed, dropped, waiting)} == {"dropped"}


def test_one_that_is_refused_leaves_the_others_alone(
    here: Flask, script: Script, read: Read
) -> None:
    running, done, failed, unknown = job("running"), job("done"), job("failed"), ids.new_id()
    for verb, then in (("retry", "waiting"), ("drop", "dropped")):
        answer = script(verb, running, done, unknown, failed, "--json")
        assert answer.returncode == 1
        assert ["refused" in row for row in json.loads(answer.stdout)] == [True, True, True, False]
        assert read(failed).state == then
    assert (read(running).state, read(done).state) == ("running", "done")
    assert script("drop", "no-id").returncode == 2
    assert script("--help").returncode == 0
