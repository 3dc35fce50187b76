"""Figures for Prometheus: right over several workers and their deaths, and not for everybody."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import update

from app.core.db import main_session, platform_session
from app.domains.jobs import service as jobs
from app.domains.jobs.models import Job
from app.domains.jobs.service import canaries
from app.settings import Settings
from embedded.ports import free_port
from tests.cast import Cast
from tests.core.answers import refusal
from tests.core.apps import another_app
from tests.core.live import running_gunicorn
from tests.embedded.processes import descendants, wait_for

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Figures:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(figures: Figures, name: str, **labels: str) -> float:
    """The sum of the samples of this name that have these labels; 0 without any."""
    return sum(
        value
        for (sample, given), value in figures.items()
        if sample == name and labels.items() <= dict(given).items()
    )


@pytest.fixture
def read(app: Flask, settings: Settings) -> Callable[[], Figures]:
    def read() -> Figures:
        answer = app.test_client().get("/metrics", headers=bearer(settings))
        assert answer.status_code == 200
        assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
        return parse(answer.text)

    return read


def bearer(settings: Settings) -> dict[str, str]:
    assert settings.metrics_token is not None
    return {"Authorization": f"Bearer {settings.metrics_token.get_secret_value()}"}


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic {}", "{}", "Bearer {}x"]
)
def test_who_may_not_read(app: Flask, settings: Settings, authorization: str | None) -> None:
    assert settings.metrics_token is not None
    token = settings.metrics_token.get_secret_value()
    headers = {} if authorization is None else {"Authorization": authorization.format(token)}
    refusal(app.test_client().get("/metrics", headers=headers), 401)


def test_a_token_that_is_no_ascii(app: Flask) -> None:
    headers = {"Authorization": "Bearer \xff\xfe"}
    refusal(app.test_client().get("/metrics", headers=headers), 401)


def test_there_are_none_without_a_token(settings: Settings) -> None:
    with another_app(settings, metrics_token=None) as own:
        refusal(own.test_client().get("/metrics", headers=bearer(settings)), 404)


def test_requests_are_counted_by_route(app: Flask, cast: Cast, read: Callable[[], Figures]) -> None:
    before = read()
    for path in (f"{cast.acme.documents}", "/nothing", "/nothing-else"):
        cast.alice.get(path)
    cast.mallory.get(cast.acme.documents)
    app.test_client().open("/health", method="BREW")
    after = read()

    def more(**labels: str) -> float:
        name = "tenantry_http_requests_total"
        return of(after, name, **labels) - of(before, name, **labels)

    route = "/api/tenants/<tenant:tenant_id>/documents"
    assert more(method="GET", route=route, status="200") == 1
    assert more(method="GET", route=route, status="404") == 1
    assert more(route="none", status="404") == 2
    assert more(method="other", route="none", status="405") == 1
    assert of(after, "tenantry_http_request_seconds_count", route=route) >= 2


def test_no_figure_is_about_one_tenant_or_person(
    cast: Cast, app: Flask, settings: Settings
) -> None:
    """Each value of a label costs memory for ever, and tells of a customer."""
    cast.alice.get(cast.acme.documents)
    text = app.test_client().get("/metrics", headers=bearer(settings)).text
    for word in (str(cast.acme.id), cast.acme.slug, cast.acme.database, str(cast.alice.user_id)):
        assert word not in text


def test_the_tenants_pool(cast: Cast, context: Flask, read: Callable[[], Figures]) -> None:
    before = read()
    cast.alice.get(cast.acme.documents)
    after = read()
    events = "tenantry_tenant_connection_events_total"
    uses = [
        of(figures, events, event="hits") + of(figures, events, event="opened")
        for figures in (before, after)
    ]
    assert uses[1] == uses[0] + 1
    with context.extensions["tenancy"].tenant_db_session(cast.acme.database) as session:
        session.connection()
        busy = read()
    assert of(busy, "tenantry_tenant_connections", state="in_use") == 1
    assert of(read(), "tenantry_tenant_connections", state="in_use") == 0
    assert of(after, "tenantry_tenant_connections", state="idle") >= 1
    assert of(after, "tenantry_tenant_connection_waiting") == 0


def test_jobs(context: Flask, read: Callable[[], Figures]) -> None:
    before = read()
    with main_session() as session:
        due, failed, done = (jobs.schedule(session, "identity.purge_sessions") for _ in range(3))
    with platform_session() as session:
        for job_id, state in ((due, "waiting"), (failed, "failed"), (done, "done")):
            long_ago = "2001-01-01T00:00:00Z"
            session.execute(
                update(Job).where(Job.id == job_id).values(state=state, due_at=long_ago)
            )
        canaries.note(session, queue="sso")
    after = read()
    assert of(after, "tenantry_queue_canary_seconds", queue="sso") < 60
    assert of(after, "tenantry_jobs_due") >= 1
    assert of(after, "tenantry_jobs_failed") == of(before, "tenantry_jobs_failed") + 1
    assert of(after, "tenantry_jobs_oldest_due_seconds") > 20 * 365 * 86_400


def test_the_other_figures_do_not_need_the_main_database(settings: Settings) -> None:
    url = SecretStr(f"postgresql://nobody@127.0.0.1:{free_port()}/nowhere")
    with another_app(settings, database_url=url) as own:
        figures = parse(own.test_client().get("/metrics", headers=bearer(settings)).text)
    assert ("tenantry_tenant_connection_waiting", frozenset()) in figures
    assert not any(name.startswith("tenantry_jobs") for name, _ in figures)


def test_several_workers_and_their_deaths(app: Flask, settings: Settings, tmp_path: Path) -> None:
    """Any worker tells the sum of all, of dead ones too; the folder begins and ends empty."""
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "counter_1.db").write_bytes(b"of a former run")
    changes = {"prometheus_multiproc_dir": folder}
    with running_gunicorn(settings, tmp_path, **changes) as (url, api), requests.Session() as web:
        web.trust_env = False
        web.headers["Connection"] = "close"  # the next request may reach another worker

        def count() -> float:
            answer = web.get(f"{url}/metrics", headers=bearer(settings), timeout=20)
            return of(parse(answer.text), "tenantry_http_requests_total", route="/api/users/me")

        def workers() -> set[int]:
            return {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_livesum_*.db")}

        for number in range(1, 41):
            web.get(f"{url}/api/users/me", timeout=20)
            assert count() == number
        wait_for(lambda: len(workers()) == 2)
        victim = min(workers())
        assert victim in descendants(api.pid)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in workers())
        assert count() == 40
        wait_for(lambda: len(workers()) == 2)
        before = workers()
        api.signal(signal.SIGHUP)
        wait_for(lambda: len(workers()) == 2 and not workers() & before)
        assert count() == 40
