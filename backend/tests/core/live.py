"""The application's real processes, as `make run` starts them, on the test's servers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

import requests
from pydantic import SecretStr

from app.core.tasks import QUEUES
from app.settings import Settings
from embedded.application import Application
from embedded.ports import LOOPBACK, free_port
from embedded.process import ChildProcess
from tests.paths import BACKEND

_READY_SECONDS = 40.0
# What the processes may open must fit the test's server, which other tests use too.
# Nothing is refused because this machine has other work to do.
_SMALL = {
    "main_pool_size": 4,
    "tenant_connection_budget": 4,
    "process_count": 2,
    "api_wait_seconds": 30.0,
}


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment that gives these settings, and nothing else of ours."""
    given = {name.upper(): _text(value) for name, value in settings if value is not None}
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | given


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(value.value if isinstance(value, Enum) else value)


@contextmanager
def running_api(settings: Settings, folder: Path, **changes: Any) -> Iterator[str]:
    """Gunicorn on a free port; its URL."""
    with running_gunicorn(settings, folder, **changes) as (url, _):
        yield url


@contextmanager
def running_gunicorn(
    settings: Settings, folder: Path, **changes: Any
) -> Iterator[tuple[str, ChildProcess]]:
    """The same, and its master process."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    told = settings.model_copy(update=_SMALL | {"public_url": url} | changes)
    with ChildProcess(_application(told, folder, port).api()) as api:
        api.wait_until(lambda: _answers(url), seconds=_READY_SECONDS)
        yield url, api


@contextmanager
def running_worker(
    settings: Settings, folder: Path, celery: str = "celery_worker:celery"
) -> Iterator[ChildProcess]:
    """Celery's worker for every queue of ours, waiting for jobs."""
    application = _application(settings.model_copy(update=_SMALL), folder, 0)
    command = application.worker(QUEUES)
    program = [celery if part == "celery_worker:celery" else part for part in command.program]
    with ChildProcess(replace(command, program=program)) as worker:
        worker.wait_until(lambda: "ready." in worker.words(), seconds=_READY_SECONDS)
        yield worker


@contextmanager
def running_scheduler(settings: Settings, folder: Path) -> Iterator[ChildProcess]:
    """What tells workers of due jobs."""
    application = _application(settings.model_copy(update=_SMALL), folder, 0)
    with ChildProcess(application.scheduler()) as scheduler:
        scheduler.wait_until(lambda: "ready." in scheduler.words(), seconds=_READY_SECONDS)
        yield scheduler


def _application(settings: Settings, folder: Path, port: int) -> Application:
    environment = environment_of(settings)
    return Application(backend=BACKEND, logs=folder, environment=environment, port=port)


def _answers(url: str) -> bool:
    try:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"{url}/health", timeout=2).ok
    except requests.RequestException:
        return False
