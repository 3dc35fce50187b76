"""An instance with a Redis of its own, and jobs to observe."""

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import update

from app.core.db import platform_session
from app.core.tasks import DEFINITIONS
from app.domains.jobs.models import OPEN, Job, JobState
from app.settings import Settings
from embedded.valkey import ValkeyServer
from tests.core.apps import another_app
from tests.domains.jobs.probes import PROBES

ATTEMPTS = 3


@pytest.fixture(scope="module", autouse=True)
def probes() -> Iterator[None]:
    DEFINITIONS.update(PROBES)
    yield
    for name in PROBES:
        del DEFINITIONS[name]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path_factory.mktemp("redis") / "valkey", durable=False) as server:
        yield server


@pytest.fixture(scope="module")
def own(settings: Settings, valkey: ValkeyServer) -> Settings:
    """Few attempts, and hardly a pause between them."""
    changes = {
        "redis_url": SecretStr(valkey.url),
        "job_attempts": ATTEMPTS,
        "job_back_off_seconds": 0.001,
        "job_lease_seconds": 2,
        "job_sweep_seconds": 0.2,
    }
    return settings.model_copy(update=changes)


@pytest.fixture(scope="module")
def sender(app: Flask, own: Settings) -> Iterator[Flask]:
    with another_app(own) as sender:
        yield sender
        sender.extensions["celery"].pool.force_close_all()


@pytest.fixture(autouse=True)
def nothing_else_is_due(sender: Flask) -> None:
    """Other tests leave jobs behind; Redis holds so many messages, and no more."""
    with sender.app_context(), platform_session() as session:
        session.execute(update(Job).where(Job.state.in_(OPEN)).values(state=JobState.DROPPED))


@pytest.fixture
def here(sender: Flask) -> Iterator[Flask]:
    """Within that instance."""
    with sender.app_context():
        yield sender


@pytest.fixture
def read(here: Flask) -> Callable[[UUID], Job]:
    """The row as it is now."""

    def read(job_id: UUID) -> Job:
        with platform_session() as session:
            return session.get_one(Job, job_id)

    return read
