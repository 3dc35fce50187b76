"""Two processes and one key: in parallel, and killed beside the commit. IDEMPOTENCY_KILLS: more."""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
import requests
from flask import Flask

from app.core.idempotency import HEADER, REPLAYED
from app.settings import Settings
from embedded.ports import LOOPBACK, free_port
from embedded.process import ChildProcess
from tests.cast import House, Person, new_house, new_person
from tests.core import live
from tests.domains.idempotency.test_keys import documents
from tests.tenancy.laboratory import until

KILLS: Final = int(os.environ.get("IDEMPOTENCY_KILLS", "4"))
Send = Callable[[str, Person, House, str], requests.Response]

_MOMENTS: Final = ("before_commit", "after_commit")


@contextmanager
def mortal_api(settings: Settings, folder: Path) -> Iterator[str]:
    """Gunicorn, whose workers die once where the file ``die`` names the moment."""
    folder.mkdir()
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    told = settings.model_copy(update={**live._SMALL, "idempotency_lease_seconds": 1})
    command = live._application(told, folder, port).api()
    program = [
        "tests.domains.idempotency.mortal:app" if part == "wsgi:app" else part
        for part in command.program
    ]
    environment = {**(command.environment or {}), "DIE": str(folder / "die")}
    with ChildProcess(replace(command, program=program, environment=environment)) as api:
        api.wait_until(lambda: live._answers(url), seconds=live._READY_SECONDS)
        yield url


@pytest.fixture
def alice(context: Flask) -> Person:
    return new_person(context, "Alice")


@pytest.fixture
def house(context: Flask, alice: Person) -> House:
    return new_house("killed", alice)


def post(url: str, person: Person, path: str, key: str, **body: object) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        headers = person.headers | {HEADER: key, "Connection": "close"}
        return session.post(url + path, headers=headers, timeout=30, **body)  # type: ignore[arg-type]


def upload(url: str, person: Person, house: House, key: str) -> requests.Response:
    form = {"file": ("plans.txt", key.encode(), "text/plain")}
    return post(url, person, house.documents, key, files=form)


def claim(url: str, person: Person, house: House, key: str) -> requests.Response:
    domain = {"domain": f"{key}.com"}
    return post(url, person, f"/api/tenants/{house.id}/domains", key, json=domain)


def claimed(person: Person, house: House) -> int:
    return len(person.get(f"/api/tenants/{house.id}/domains").get_json()["items"])


def test_one_key_from_many_to_two_processes_and_killed_beside_the_commit(
    context: Flask, settings: Settings, alice: Person, house: House, tmp_path: Path
) -> None:
    with (
        mortal_api(settings, tmp_path / "here") as here,
        mortal_api(settings, tmp_path / "there") as there,
    ):
        _thirty_two_at_once((here, there), alice, house)
        dice = random.Random(6)
        moments = [*_MOMENTS, *(dice.choice(_MOMENTS) for _ in range(KILLS))][:KILLS]
        for number, moment in enumerate(moments):
            send = (upload, claim)[number // 2 % 2]
            _killed(send, here, there, alice, house, die=tmp_path / "here" / "die", moment=moment)


def _thirty_two_at_once(apis: tuple[str, str], alice: Person, house: House) -> None:
    key, before = uuid4().hex, documents(house)
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda n: upload(apis[n % 2], alice, house, key), range(32)))
    found = Counter(answer.status_code for answer in answers)
    assert set(found) <= {201, 409}, found
    assert len({answer.text for answer in answers if answer.status_code == 201}) == 1
    first = [a for a in answers if a.status_code == 201 and REPLAYED not in a.headers]
    assert len(first) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == "idempotency_key_in_use"
            assert int(answer.headers["Retry-After"]) >= 1
    assert documents(house) == before + 1


def _killed(
    send: Send, here: str, there: str, alice: Person, house: House, *, die: Path, moment: str
) -> None:
    key = uuid4().hex

    def count() -> int:
        return documents(house) if send is upload else claimed(alice, house)

    before = count()
    die.write_text(moment)
    with pytest.raises(requests.ConnectionError):
        send(here, alice, house, key)
    assert not die.exists()
    until(lambda: count() == before + (moment == "after_commit"), "the commit is seen or undone")
    answers: list[requests.Response] = []
    until(lambda: _answered(send(there, alice, house, key), answers), "the lease is over")
    assert (REPLAYED in answers[0].headers) == (moment == "after_commit")
    again = send(here, alice, house, key)
    assert again.status_code == answers[0].status_code == 201
    assert again.text == answers[0].text
    assert again.headers[REPLAYED] == "true"
    assert count() == before + 1


def _answered(answer: requests.Response, answers: list[requests.Response]) -> bool:
    if answer.status_code == 409:
        assert answer.json()["code"] == "idempotency_key_in_use"
        return False
    answers.append(answer)
    return True
