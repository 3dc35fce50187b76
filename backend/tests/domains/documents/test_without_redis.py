"""Redis carries jobs, and nothing waits for it."""

import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import select

from app.domains.documents.models import File
from app.settings import Settings
from app.tenancy.manager import current_manager
from embedded.ports import free_port
from embedded.valkey import ValkeyServer
from tests.cast import House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere
from tests.domains.documents.files import delete_for_good, upload

# More than a client would wait, and far less than any default of the libraries below us.
QUICK = 8.0


@pytest.fixture(scope="module")
def owner(app: Flask) -> Person:
    with app.app_context():
        return new_person(app, "Alice")


@pytest.fixture(scope="module")
def house(app: Flask, owner: Person) -> House:
    with app.app_context():
        return new_house("redisless", owner)


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
def test_a_delete_needs_no_redis(
    *,
    settings: Settings,
    owner: Person,
    house: House,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    away: str,
) -> None:
    url = SecretStr(request.getfixturevalue(away))
    with another_app(settings, redis_url=url) as app, ThreadPoolExecutor(1) as pool:
        there = elsewhere(owner, app)
        one = upload(there, house, away.encode())["id"]
        with caplog.at_level(logging.WARNING):
            purged = pool.submit(delete_for_good, there, house, one)
            assert purged.result(timeout=QUICK) == 204
        refusal(there.get(f"{house.documents}/{one}"), 404)
        with app.app_context(), current_manager().tenant_db_session(house.database) as session:
            waiting = session.scalars(select(File.state).where(File.size == len(away))).all()
    assert "deleting" in waiting, "the row waits for the sweep"
    told = [record for record in caplog.records if "sweep will find" in record.getMessage()]
    assert len(told) == 1
    assert told[0].levelno == logging.WARNING


def test_jobs_are_sent_again_when_redis_is_back(
    settings: Settings, owner: Person, house: House, tmp_path: Path
) -> None:
    server = ValkeyServer(tmp_path / "valkey", durable=False)
    server.start()
    try:
        with another_app(settings, redis_url=SecretStr(server.url)) as app:
            there = elsewhere(owner, app)
            celery = app.extensions["celery"]

            def delete_one() -> None:
                one = upload(there, house)["id"]
                assert delete_for_good(there, house, one) == 204

            def waiting() -> int:
                with celery.connection_for_read() as connection:
                    queue = connection.SimpleQueue("documents")
                    with closing(queue):
                        return int(queue.qsize())

            delete_one()
            assert waiting() == 1
            port = server.port
            server.stop()
            delete_one()
            again = ValkeyServer(tmp_path / "again", durable=False, port=port)
            again._password = server._password
            server = again
            server.start()
            delete_one()
            assert waiting() == 1
            celery.pool.force_close_all()
    finally:
        server.stop()
