"""kill -9 while bytes arrive: nothing half there, and the sweep gives back what was held."""

import os
import signal
import socket
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from flask import Flask, current_app
from sqlalchemy import func, select

from app.domains.documents.models import Document, File
from app.domains.documents.service import files
from app.settings import Settings
from app.tenancy.manager import current_manager
from embedded.ports import free_port
from embedded.process import ChildProcess
from tests.cast import PASSWORD, House, Person, new_house, new_person
from tests.core import live
from tests.domains.documents.files import stored, upload
from tests.domains.documents.test_quota import used
from tests.domains.documents.test_sweep import a_day_passes
from tests.domains.documents.test_uploads import FORM, HEAD

_SIZE = 50_000_000
_ROUNDS = 10


@pytest.fixture
def owner(context: Flask) -> Person:
    return new_person(context, "Alice")


@pytest.fixture
def house(context: Flask, owner: Person) -> House:
    return new_house("killed", owner)


def begin_upload(url: str, house: House, token: str) -> socket.socket:
    """A connection on which a part of a large file has been sent."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=20)
    head = (
        f"POST {house.documents} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: {FORM}\r\n"
        f"Content-Length: {_SIZE}\r\n\r\n"
    )
    connection.sendall(head.encode() + HEAD + b"x" * 1_000_000)
    return connection


def arriving(house: House) -> int:
    with current_manager().tenant_db_session(house.database) as session:
        return session.scalar(select(func.count()).where(File.state == "pending")) or 0


def has_arrived(settings: Settings, house: House, count: int) -> bool:
    """Each upload has a row, and some of its bytes are in the store."""
    return arriving(house) == count - 1 and len(stored(settings, house)) == count


def sign_in(url: str, person: Person) -> str:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            f"{url}/api/auth/login",
            json={"email": person.email, "password": PASSWORD},
            timeout=20,
        )
    token: str = answer.json()["access_token"]
    return token


def kill_group(process: ChildProcess) -> None:
    """Gunicorn's master and its workers, in one moment."""
    os.killpg(process.pid, signal.SIGKILL)


def test_ten_processes_killed_while_bytes_arrive(
    context: Flask, settings: Settings, owner: Person, house: House, tmp_path: Path
) -> None:
    kept = upload(owner, house, b"kept")
    before = stored(settings, house)
    for number in range(_ROUNDS):
        port = free_port()
        folder = tmp_path / str(number)
        folder.mkdir()
        url = f"http://127.0.0.1:{port}"
        told = settings.model_copy(update={**live._SMALL, "public_url": url})
        with ChildProcess(live._application(told, folder, port).api()) as api:
            api.wait_until(partial(live._answers, url), seconds=60)
            connection = begin_upload(url, house, sign_in(url, owner))
            files_now = len(before) + number + 1
            api.wait_until(partial(has_arrived, settings, house, files_now), seconds=30)
            kill_group(api)
            connection.close()
    assert arriving(house) == _ROUNDS
    held, documents = used(owner, house)
    assert held > _ROUNDS * (_SIZE - 10_000)
    assert documents == 1 + _ROUNDS
    assert [each["id"] for each in owner.get(house.documents).get_json()["items"]] == [kept["id"]]
    with current_manager().tenant_db_session(house.database) as session:
        assert session.scalar(select(func.count()).select_from(Document)) == 1
        assert files.sweep_files(session, current_app.extensions["storage"]) == 0
    a_day_passes(house)
    with current_manager().tenant_db_session(house.database) as session:
        assert files.sweep_files(session, current_app.extensions["storage"]) == _ROUNDS
    assert used(owner, house) == (4, 1)
    assert stored(settings, house) == before
    assert owner.get(f"{house.documents}/{kept['id']}/download").data == b"kept"
