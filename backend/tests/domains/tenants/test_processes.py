"""The API is killed while it creates a tenant: scheduler and worker finish it."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import requests
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import update

from app.core import clock, ids
from app.core.db import platform_session
from app.domains.jobs.models import OPEN, Job, JobState
from app.settings import Settings
from tests.cast import PASSWORD, Person, new_person
from tests.core.live import running_api, running_scheduler, running_worker
from tests.domains.tenants.ledger import jobs_of, serves, tenant_row, tenants_by_slug
from tests.embedded.processes import descendants
from tests.tenancy.laboratory import Laboratory, until


def post(url: str, person: Person, slug: str) -> int | None:
    """The status of the answer, or None where there was none."""
    with requests.Session() as session, suppress(requests.ConnectionError):
        session.trust_env = False
        body = {"name": "Acme", "slug": slug}
        login = {"email": person.email, "password": PASSWORD}
        token = session.post(f"{url}/api/auth/login", json=login, timeout=30).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        answer = session.post(f"{url}/api/tenants", json=body, headers=headers, timeout=30)
        return answer.status_code
    return None


def kill_gunicorn() -> None:
    """All of it at once, as the end of its machine would."""
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            if b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def test_the_api_is_killed_in_the_middle(
    context: Flask, house: Laboratory, settings: Settings, tmp_path: Path
) -> None:
    alice, slug = new_person(context, "Alice"), f"killed-{ids.new_id().hex[-12:]}"
    with running_api(settings, tmp_path) as url, ThreadPoolExecutor(1) as pool:
        assert post(url, alice, f"warm-{slug}"[:60]) == 201
        answer = pool.submit(post, url, alice, slug)
        until(lambda: slug in tenants_by_slug(), "the registration")
        kill_gunicorn()
        assert answer.result(30) in {None, 201}
    [tenant] = tenants_by_slug()[slug]
    [job] = jobs_of(tenant.id)
    with platform_session() as session:
        session.execute(update(Job).where(Job.id == job.id).values(due_at=clock.now()))
        # What other tests left behind, in the table and in Redis, would have its turn before.
        others = update(Job).where(Job.id != job.id, Job.state.in_(OPEN))
        session.execute(others.values(state=JobState.DROPPED))
    url, _, database = settings.redis_url.get_secret_value().rpartition("/")
    empty = SecretStr(f"{url}/{15 - int(database)}")
    quick = settings.model_copy(update={"job_sweep_seconds": 0.2, "redis_url": empty})
    with running_scheduler(quick, tmp_path), running_worker(quick, tmp_path):
        until(lambda: jobs_of(tenant.id) == [], "the job")
        until(lambda: tenant_row(tenant.id).active, "the tenant")
    assert serves(house, tenant.id)
