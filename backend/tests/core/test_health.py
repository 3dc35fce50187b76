"""Readiness: each part is asked, none holds the answer up, and nobody learns where they are."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import delete, func, update

from app.core.db import platform_session
from app.core.health import NotReady, Part, Probes
from app.core.tasks import QUEUES
from app.domains.jobs.models import Canary
from app.domains.jobs.service import canaries
from app.settings import Settings
from embedded.ports import free_port
from tests.core.answers import refusal
from tests.core.apps import another_app

SECRET = "hunter2-hunter2"
PARTS = {"main_database", "tenants_server", "redis", "storage", "workers"}


@pytest.fixture(autouse=True)
def every_queue_is_worked_at(context: Flask) -> None:
    """As far as anybody can tell: no worker runs here."""
    with platform_session() as session:
        for queue in QUEUES:
            canaries.note(session, queue=queue)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of somebody who listens and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield int(listener.getsockname()[1])


def away(setting: str, port: int, folder: Path) -> dict[str, Any]:
    if setting == "storage_path":
        file = folder / "file"
        file.write_text("no folder")
        return {setting: file}
    scheme = "redis" if setting == "redis_url" else "postgresql"
    return {setting: SecretStr(f"{scheme}://nobody:{SECRET}@127.0.0.1:{port}/0")}


def states(parts: dict[str, Any]) -> dict[str, str]:
    return {name: part["status"] for name, part in parts.items()}


def test_all_is_well(app: Flask) -> None:
    answer = app.test_client().get("/health/ready")
    assert answer.status_code == 200
    document = answer.get_json()
    assert document["status"] == "ready"
    assert states(document["parts"]) == dict.fromkeys(PARTS, "up")
    assert all(part["milliseconds"] >= 0 for part in document["parts"].values())


@pytest.mark.parametrize("way", ["closed", "silent"])
@pytest.mark.parametrize(
    ("setting", "part"),
    [("provisioner_url", "tenants_server"), ("redis_url", "redis"), ("storage_path", "storage")],
)
def test_what_only_some_requests_need(
    *, settings: Settings, tmp_path: Path, silent: int, setting: str, part: str, way: str
) -> None:
    port = free_port() if way == "closed" else silent
    with another_app(settings, **away(setting, port, tmp_path)) as degraded:
        answer = degraded.test_client().get("/health/ready")
    assert answer.status_code == 200
    document = answer.get_json()
    assert document["status"] == "degraded"
    assert states(document["parts"]) == dict.fromkeys(PARTS, "up") | {part: "away"}
    for word in (SECRET, "127.0.0.1", str(port), str(tmp_path), "Error"):
        assert word not in answer.text


def test_one_queue_without_a_worker(context: Flask) -> None:
    """Its canary is late, or was never there; the fleet's worker may be busy for longer."""
    client = context.test_client()

    def ask() -> tuple[str, str]:
        answer = client.get("/health/ready")
        assert answer.status_code == 200
        document = answer.get_json()
        return document["status"], document["parts"]["workers"]["status"]

    ten_minutes_ago = func.now() - timedelta(minutes=10)
    with platform_session() as session:
        fleet = update(Canary).where(Canary.queue == "fleet")
        session.execute(fleet.values(ran_at=ten_minutes_ago))
    assert ask() == ("ready", "up")
    with platform_session() as session:
        sso = update(Canary).where(Canary.queue == "sso")
        session.execute(sso.values(ran_at=ten_minutes_ago))
    assert ask() == ("degraded", "away")
    with platform_session() as session:
        canaries.note(session, queue="sso")
    assert ask() == ("ready", "up")
    with platform_session() as session:
        session.execute(delete(Canary).where(Canary.queue == "mail"))
    assert ask() == ("degraded", "away")


@pytest.mark.parametrize("way", ["closed", "silent"])
def test_nothing_is_served_without_the_main_database(
    settings: Settings, tmp_path: Path, silent: int, way: str
) -> None:
    port = free_port() if way == "closed" else silent
    with another_app(settings, **away("database_url", port, tmp_path)) as broken:
        client = broken.test_client()
        answer = client.get("/health/ready")
        assert client.get("/health").get_json() == {"status": "ok"}
    problem = refusal(answer, 503, "not_ready")
    assert states(problem["parts"]) == dict.fromkeys(PARTS, "up") | {
        "main_database": "away",
        "workers": "away",
    }
    assert int(answer.headers["Retry-After"]) > 0
    assert SECRET not in answer.text
    assert "127.0.0.1" not in answer.text


def test_a_part_that_never_answers_costs_one_thread(app: Flask) -> None:
    """However often it is asked, and it holds up neither the answer nor the other parts."""
    answered, asked = Event(), []

    def hang() -> None:
        asked.append(1)
        answered.wait(60)

    probes = Probes(app, [Part(name="hangs", ask=hang), Part(name="well", ask=lambda: None)])
    with ThreadPoolExecutor(8) as pool:
        rounds = [pool.submit(probes.ask) for _ in range(8)]
        for each in rounds:
            told = each.result(timeout=20)
            assert (told["hangs"].status, told["hangs"].milliseconds) == ("away", None)
            assert told["well"].status == "up"
    assert len(asked) == 1
    answered.set()
    deadline = time.monotonic() + 20
    while probes.ask()["hangs"].status == "away":
        assert time.monotonic() < deadline


def test_a_vital_part_that_fails(app: Flask) -> None:
    def fail() -> None:
        raise RuntimeError(SECRET)

    with pytest.raises(NotReady) as raised:
        Probes(app, [Part(name="vital", ask=fail, vital=True)]).ask()
    assert raised.value.parts["vital"].status == "away"
    assert SECRET not in str(raised.value.problem("id"))
