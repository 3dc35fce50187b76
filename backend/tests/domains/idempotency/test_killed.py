"""Two processes and one key: in parallel, and killed beside the commit.

All ways to create in turn, each at each moment; `make kills` kills IDEMPOTENCY_KILLS times.
"""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
import requests
from flask import Flask
from sqlalchemy import func, select

from app.core.idempotency import HEADER, REPLAYED
from app.domains.documents.models import Upload
from app.settings import Settings
from app.tenancy.manager import current_manager
from embedded.ports import LOOPBACK, free_port
from embedded.process import ChildProcess
from tests.cast import House, Person, new_house, new_person
from tests.core import live
from tests.domains.idempotency.test_keys import documents
from tests.tenancy.laboratory import until

Send = Callable[[str, Person, House, str], requests.Response]


@dataclass(frozen=True)
class Way:
    """A way to create, and how many things made by it there are.

    What is made in a transaction of its own, before the answer's, is there at ``early`` moments.
    """

    send: Send
    count: Callable[[Person, House], int]
    early: frozenset[str] = frozenset()


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


def reserve(url: str, person: Person, house: House, key: str) -> requests.Response:
    body = {"name": key, "size": 5}
    return post(url, person, f"{house.documents}/uploads", key, json=body)


def reserved(_: Person, house: House) -> int:
    with current_manager().tenant_db_session(house.database) as session:
        return session.scalar(select(func.count()).select_from(Upload)) or 0


def create(url: str, person: Person, house: House, key: str) -> requests.Response:
    tenant = {"name": "Initech", "slug": f"initech-{key}"}
    return post(url, person, "/api/tenants", key, json=tenant)


def created(person: Person, _: House) -> int:
    tenants = person.get("/api/tenants", query_string={"limit": 200}).get_json()["items"]
    return len({tenant["id"] for tenant in tenants if tenant["slug"].startswith("initech-")})


WAYS: Final = {
    "create": Way(create, created, early=frozenset({"registered", "before_commit"})),
    "reserve": Way(reserve, reserved),
    "upload": Way(upload, lambda _, house: documents(house)),
    "claim": Way(claim, claimed),
}
ALL: Final = [
    ("create", "registered"),
    *itertools.product(WAYS, ("before_commit", "after_commit")),
]
KILLS: Final = int(os.environ.get("IDEMPOTENCY_KILLS", "7"))


def test_one_key_from_many_to_two_processes_and_killed_beside_the_commit(
    context: Flask, settings: Settings, alice: Person, house: House, tmp_path: Path
) -> None:
    with (
        mortal_api(settings, tmp_path / "here") as here,
        mortal_api(settings, tmp_path / "there") as there,
    ):
        _thirty_two_at_once((here, there), alice, house)
        die = tmp_path / "here" / "die"
        for name, moment in itertools.islice(itertools.cycle(ALL), KILLS):
            _killed(WAYS[name], here, there, alice, house, die=die, moment=moment)


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
    way: Way, here: str, there: str, alice: Person, house: House, *, die: Path, moment: str
) -> None:
    key = uuid4().hex
    before = way.count(alice, house)
    made = moment == "after_commit" or moment in way.early
    die.write_text(moment)
    with pytest.raises(requests.ConnectionError):
        way.send(here, alice, house, key)
    assert not die.exists()
    until(lambda: way.count(alice, house) == before + made, "the commit is seen or undone")
    answers: list[requests.Response] = []
    until(lambda: _answered(way.send(there, alice, house, key), answers), "the lease is over")
    assert (REPLAYED in answers[0].headers) == (moment == "after_commit")
    again = way.send(here, alice, house, key)
    assert again.status_code == answers[0].status_code == 201
    assert again.text == answers[0].text
    assert again.headers[REPLAYED] == "true"
    assert way.count(alice, house) == before + 1


def _answered(answer: requests.Response, answers: list[requests.Response]) -> bool:
    if answer.status_code == 409:
        assert answer.json()["code"] == "idempotency_key_in_use"
        return False
    answers.append(answer)
    return True
