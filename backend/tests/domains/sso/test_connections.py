"""People's tokens at a directory: renewed once by whoever comes, and ended by refusals alone."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import func, update

from app.core import clock
from app.core.db import main_session, platform_session
from app.domains.jobs.models import Job, JobState
from app.domains.sso.models import SSOAttempt, UserAzureIdentity
from app.domains.sso.service import upkeep
from app.settings import Environment, Settings
from tests.domains.access.ledger import remove_member
from tests.domains.identity.trail import recorded
from tests.domains.sso.browsers import Browser, Company, bearer
from tests.domains.sso.connections import PROFILE, Connection
from tests.paths import BACKEND
from tests.tenancy.laboratory import Laboratory, until

PHOTO = "/api/users/me/azure/photo"


def run_jobs(app: Flask) -> int:
    """What the scheduler and a worker do, without waiting until the spread jobs are due."""
    with app.app_context():
        with platform_session() as session:
            upkeep.schedule_refreshes(session, app.extensions["settings"])
        with platform_session() as session:
            due = session.scalars(
                update(Job)
                .where(Job.name == "sso.refresh_identity", Job.state == JobState.WAITING)
                .values(due_at=func.now())
                .returning(Job.id)
            ).all()
    for job_id in due:
        app.extensions["celery"].tasks["jobs.run"].apply(kwargs={"job_id": str(job_id)}).get()
    return len(due)


def test_tokens_are_renewed_before_they_expire(connection: Connection) -> None:
    app, before = connection.company.app, connection.row
    assert run_jobs(app) == 0  # they have an hour yet
    connection.change(access_expires_at=clock.now() + timedelta(minutes=29))
    assert run_jobs(app) == 1
    after = connection.row
    assert after.version == before.version + 1
    assert after.sealed_cache != before.sealed_cache
    assert after.access_expires_at is not None
    assert after.access_expires_at > clock.now() + timedelta(minutes=50)
    assert run_jobs(app) == 0
    assert connection.refreshes == 1


@pytest.mark.parametrize(
    ("misbehaviour", "status", "stays"),
    [
        ("revoked", "revoked", False),
        ("disabled", "revoked", False),
        ("expired_grant", "expired", True),
        ("interaction_required", "step_up", True),
        ("expired_secret", "connected", True),
        ("503", "connected", True),
        ("429", "connected", True),
    ],
)
def test_what_a_directory_says_decides_what_becomes_of_a_connection(
    *, misbehaviour: str, status: str, stays: bool, connection: Connection
) -> None:
    connection.change(access_expires_at=clock.now() + timedelta(minutes=5))
    if misbehaviour == "disabled":
        connection.person.enabled = False
    else:
        connection.company.directory.misbehaviour = misbehaviour
    run_jobs(connection.company.app)
    row = connection.row
    assert row.status == status
    assert connection.is_signed_in is stays
    ended = [entry.details["status"] for entry in recorded(row.user_id, "sso.connection_ended")]
    assert ended == ([] if status == "connected" else [status])
    if status == "connected":
        assert row.refresh_at is not None
        assert row.refresh_at > clock.now() + timedelta(seconds=60)
        assert row.refreshing_until is None
        assert run_jobs(connection.company.app) == 0
    elif stays:
        lost = connection.get(PROFILE)
        assert (lost.status_code, lost.get_json()["code"]) == (403, "sso_connection_lost")
    connection.company.directory.misbehaviour = None
    connection.person.enabled = True
    bearer(Browser(connection.company).sign_in(connection.person))
    assert connection.row.status == "connected"


def test_a_further_sign_in_is_asked_for_what_was_missing(connection: Connection) -> None:
    connection.expire()
    connection.company.directory.misbehaviour = "interaction_required"
    lost = connection.get(PROFILE)
    connection.company.directory.misbehaviour = None
    assert lost.status_code == 403
    location = Browser(connection.company).depart(lost.get_json()["login_url"])
    assert "capolids" in location


def test_an_expired_token_is_renewed_once_by_all_who_want_it(connection: Connection) -> None:
    connection.expire()
    connection.company.directory.slow_seconds = 0.2
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(connection.get, [PROFILE] * 4))
    connection.company.directory.slow_seconds = 0
    assert [answer.status_code for answer in answers] == [200] * 4
    assert connection.refreshes == 1


def test_the_profile_is_what_graph_tells(connection: Connection) -> None:
    connection.person.groups = {f"group-{number}" for number in range(5)}
    connection.company.directory.graph_misbehaviour = "429_once"
    profile = connection.get(PROFILE).get_json()
    assert (profile["object_id"], profile["mail"]) == (
        connection.person.id,
        connection.person.email,
    )
    assert {group["id"] for group in profile["groups"]} == connection.person.groups
    photo = connection.get(PHOTO)
    assert (photo.status_code, photo.mimetype) == (200, "image/png")
    connection.company.directory.graph_misbehaviour = "429"
    busy = connection.get(PROFILE)
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "120")
    connection.company.directory.graph_misbehaviour = "403"
    assert connection.get(PROFILE).get_json()["code"] == "sso_connection_lost"


def test_nobody_has_a_profile_without_a_directory(acme: Company) -> None:
    answer = acme.owner.get(PROFILE)
    assert (answer.status_code, answer.get_json()["code"]) == (404, "sso_no_connection")


def test_whom_no_tenant_knows_is_forgotten(connection: Connection) -> None:
    Browser(connection.company).come_back({"state": "x" * 43, "code": "0"})
    remove_member(connection.company.house.id, connection.row.user_id)
    old = clock.now() - timedelta(days=31)
    with main_session(tenant_id=connection.company.house.id) as session:
        attempt = SSOAttempt(
            tenant_id=connection.company.house.id, reason="revoked", created_at=old
        )
        session.add(attempt)
        session.flush()
        attempt_id = attempt.id
    with platform_session() as session:
        upkeep.clean_up(session, connection.company.app.extensions["settings"])
    with platform_session() as session:
        assert session.get(UserAzureIdentity, connection.id) is None
        assert session.get(SSOAttempt, attempt_id) is None


def test_the_figures_tell_of_connections(connection: Connection) -> None:
    settings: Settings = connection.company.app.extensions["settings"]
    assert settings.metrics_token is not None
    token = settings.metrics_token.get_secret_value()
    connection.change(access_expires_at=clock.now() + timedelta(minutes=5))
    run_jobs(connection.company.app)
    text = (
        connection.company.app.test_client()
        .get("/metrics", headers={"Authorization": f"Bearer {token}"})
        .text
    )
    assert 'tenantry_sso_identities{status="connected"}' in text
    assert 'tenantry_sso_refreshes_total{outcome="refreshed"}' in text
    assert "tenantry_sso_soonest_expiry_seconds" in text


@pytest.fixture
def workers(sso_app: Flask, sso_settings: Settings) -> Iterator[list[subprocess.Popen[str]]]:
    """Four processes, ready to renew."""
    environment = Laboratory(sso_app, sso_settings, "").environment()
    with ExitStack() as stack:
        started = []
        for _ in range(4):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.domains.sso.worker"],
                cwd=BACKEND,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            started.append(process)
        for process in started:
            assert _line(process) == "ready"
        yield started


def test_of_four_workers_one_renews_and_whoever_is_killed_loses_nothing(
    connection: Connection, workers: list[subprocess.Popen[str]]
) -> None:
    directory, before = connection.company.directory, connection.row
    connection.expire()
    directory.slow_seconds = 0.5
    for worker in workers:
        _ask(worker, connection)
    assert sorted(map(_line, workers)) == ["None", "None", "None", "refreshed"]
    renewed = connection.row
    assert (connection.refreshes, renewed.version) == (1, before.version + 1)
    # One is killed while the directory is about to answer.
    connection.expire()
    directory.slow_seconds = 2.0
    _ask(workers[0], connection)
    until(lambda: connection.refreshes == 2, "the directory is asked")
    workers[0].kill()
    workers[0].wait()
    directory.slow_seconds = 0
    left = connection.row
    assert (left.version, left.sealed_cache) == (renewed.version, renewed.sealed_cache)
    assert left.refreshing_until is not None
    _ask(workers[1], connection)
    assert _line(workers[1]) == "None"  # the lease of the dead
    connection.change(refreshing_until=clock.now() - timedelta(seconds=1))
    _ask(workers[1], connection)
    assert _line(workers[1]) == "refreshed"
    assert connection.row.version == renewed.version + 1
    assert connection.get(PROFILE).status_code == 200


def _ask(worker: "subprocess.Popen[str]", connection: Connection) -> None:
    assert worker.stdin is not None
    worker.stdin.write(f"{connection.company.house.id} {connection.id}\n")
    worker.stdin.flush()


def _line(worker: "subprocess.Popen[str]") -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


@pytest.mark.parametrize(
    ("field", "value", "environment"),
    [
        ("azure_authority_url", "http://localhost:8443", Environment.DEVELOPMENT),
        ("azure_authority_url", "https://localhost:8443/common", Environment.DEVELOPMENT),
        ("graph_url", "http://graph.microsoft.com", Environment.PRODUCTION),
        ("azure_ca_file", __file__, Environment.PRODUCTION),
    ],
)
def test_what_could_be_listened_to_is_refused(
    field: str, value: str, environment: Environment, settings: Settings
) -> None:
    given = settings.model_dump() | {"environment": environment, field: value}
    with pytest.raises(ValueError, match=field):
        Settings(**given)
