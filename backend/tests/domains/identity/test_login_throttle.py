"""Guessing passwords: how often, at whose cost, and what it costs whom."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr

from app.core import ids
from app.core.db import db
from app.domains.identity.service.passwords import Passwords
from app.settings import Settings
from embedded.ports import free_port
from tests.cast import PASSWORD, Person, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere
from tests.domains.identity.accounts import change, new_address, statements
from tests.domains.identity.trail import listening, logged, recorded

_TIGHT = {
    "login_attempts_per_account_and_address": 3,
    "login_attempts_per_address": 8,
    "login_attempts_per_account": 5,
}


@pytest.fixture(scope="module")
def guarded(settings: Settings) -> Iterator[Flask]:
    with another_app(settings, **_TIGHT) as app:
        yield app


@pytest.fixture
def alice(context: Flask) -> Person:
    return new_person(context, "Alice")


def log_in(app: Flask, email: str, password: str = "a guess", *, address: str) -> Any:
    return app.test_client().post(
        "/api/auth/login",
        json={"email": email, "password": password},
        environ_base={"REMOTE_ADDR": address},
    )


def guess(app: Flask, email: str, *, address: str, times: int) -> None:
    for _ in range(times):
        refusal(log_in(app, email, address=address), 401, "wrong_credentials")


def test_a_guesser_is_stopped_and_told_when_to_come_back(guarded: Flask, alice: Person) -> None:
    here = new_address()
    guess(guarded, alice.email, address=here, times=3)
    answer = log_in(guarded, alice.email, address=here)
    refusal(answer, 429, "too_many_requests")
    wait = int(answer.headers["Retry-After"])
    assert 0 < wait <= 900
    assert answer.headers["RateLimit-Policy"] == '"login-account-address";q=3;w=900'
    assert answer.headers["RateLimit"] == f'"login-account-address";r=0;t={wait}'


def test_not_even_the_right_password_opens_then(guarded: Flask, alice: Person) -> None:
    """Or the limit would only hide from the guesser which guess was wrong."""
    here = new_address()
    guess(guarded, alice.email, address=here, times=3)
    refusal(log_in(guarded, alice.email, PASSWORD, address=here), 429)
    assert log_in(guarded, alice.email, PASSWORD, address=new_address()).status_code == 200


def test_unknown_accounts_are_counted_alike(guarded: Flask, alice: Person) -> None:
    nobody = f"{ids.new_id().hex}@example.com"
    told = []
    for email in (nobody, alice.email):
        here = new_address()
        guess(guarded, email, address=here, times=3)
        answer = log_in(guarded, email, address=here)
        problem = refusal(answer, 429) | {"request_id": ""}
        told.append((problem, sorted(name for name, _ in answer.headers)))
    assert told[0] == told[1]


def test_one_address_tries_many_accounts_no_longer(guarded: Flask) -> None:
    here = new_address()
    for _ in range(8):
        guess(guarded, f"{ids.new_id().hex}@example.com", address=here, times=1)
    answer = log_in(guarded, f"{ids.new_id().hex}@example.com", address=here)
    refusal(answer, 429)
    assert answer.headers["RateLimit-Policy"].startswith('"login-address"')


def test_many_addresses_try_one_account_no_longer(guarded: Flask, alice: Person) -> None:
    for _ in range(5):
        guess(guarded, alice.email, address=new_address(), times=1)
    answer = log_in(guarded, alice.email, address=new_address())
    refusal(answer, 429)
    assert answer.headers["RateLimit-Policy"] == '"login-account";q=5;w=86400'


def test_whoever_signed_in_from_there_before_is_not_locked_out(
    guarded: Flask, alice: Person
) -> None:
    home = new_address()
    assert log_in(guarded, alice.email, PASSWORD, address=home).status_code == 200
    for _ in range(5):
        guess(guarded, alice.email, address=new_address(), times=1)
    refusal(log_in(guarded, alice.email, PASSWORD, address=new_address()), 429)
    for _ in range(6):
        assert log_in(guarded, alice.email, PASSWORD, address=home).status_code == 200


def test_over_all_accounts_and_addresses(settings: Settings, alice: Person) -> None:
    """In an installation's own name, so that no other test counts."""
    own = {"login_attempts_over_all": 4, "secret_key": SecretStr(ids.new_token())}
    with another_app(settings, **own) as app:
        for _ in range(4):
            guess(app, f"{ids.new_id().hex}@example.com", address=new_address(), times=1)
        answer = log_in(app, alice.email, PASSWORD, address=new_address())
        refusal(answer, 429)
        assert answer.headers["RateLimit-Policy"].startswith('"login-all"')


def test_signing_in_rightly_costs_nothing(guarded: Flask, alice: Person) -> None:
    here = new_address()
    for _ in range(12):
        assert log_in(guarded, alice.email, PASSWORD, address=here).status_code == 200


def test_what_is_no_login_is_not_counted(guarded: Flask, alice: Person) -> None:
    here = new_address()
    for _ in range(5):
        refusal(log_in(guarded, alice.email, "", address=here), 422)
    guess(guarded, alice.email, address=here, times=3)


def test_a_stolen_token_guesses_the_password_no_faster(guarded: Flask, alice: Person) -> None:
    there = elsewhere(alice, guarded)
    body = {"current_password": "a guess", "new_password": "long enough"}
    for _ in range(3):
        refusal(there.post("/api/users/me/password", json=body), 403, "wrong_password")
    refusal(there.post("/api/users/me/password", json=body), 429)
    right = body | {"current_password": PASSWORD}
    refusal(there.post("/api/users/me/password", json=right), 429)


def test_a_throttled_login_is_logged_each_time_and_recorded_once(
    guarded: Flask, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    here = new_address()
    with listening(caplog):
        guess(guarded, alice.email, address=here, times=3)
        for _ in range(3):
            refusal(log_in(guarded, alice.email, address=here), 429)
    lines = logged(caplog, "attempt.throttled")
    assert len(lines) == 3
    for line in lines:
        assert (line["outcome"], line["reason"]) == ("refused", "login-account-address")
        assert line["address"] == here
    account = lines[0]["account"]
    (entry,) = recorded(account, "attempt.throttled")
    assert entry.details == {"reason": "login-account-address"}
    assert entry.address == here
    assert alice.email not in caplog.text


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of somebody who listens and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize("way", ["closed", "silent"])
def test_without_redis_nobody_signs_in_and_all_else_goes_on(
    settings: Settings, alice: Person, silent: int, way: str
) -> None:
    port = free_port() if way == "closed" else silent
    away = {"redis_url": SecretStr(f"redis://127.0.0.1:{port}/0"), "redis_timeout_seconds": 0.2}
    with another_app(settings, **away) as app, ThreadPoolExecutor(1) as pool:
        trial = pool.submit(log_in, app, alice.email, PASSWORD, address=new_address())
        answer = trial.result(timeout=15)
        refusal(answer, 503, "throttle_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        there = elsewhere(alice, app)
        assert there.get("/api/users/me").status_code == 200
        body = {"refresh_token": alice.tokens["refresh_token"]}
        answer = app.test_client().post("/api/auth/refresh", json=body)
        assert answer.status_code == 200
        there.tokens = answer.get_json()
        assert there.post("/api/auth/logout").status_code == 204
        refusal(there.get("/api/users/me"), 401)


class Watching(Passwords):
    """Passwords that look how many connections are in use while they work."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.held: list[int] = []

    def _look(self) -> None:
        self.held.append(db.engine.pool.checkedout())  # type: ignore[attr-defined]

    def hash(self, password: str) -> str:
        self._look()
        return super().hash(password)

    def matches(self, password_hash: str | None, password: str) -> bool:
        self._look()
        return super().matches(password_hash, password)


def test_no_connection_is_held_while_argon2_works(settings: Settings, alice: Person) -> None:
    with another_app(settings, password_hash_passes=2) as app:
        watching = Watching(app.extensions["settings"])
        app.extensions["passwords"] = watching
        here = new_address()
        guess(app, f"{ids.new_id().hex}@example.com", address=here, times=1)
        guess(app, alice.email, address=here, times=1)
        answer = log_in(app, alice.email, PASSWORD, address=here)  # renews the hash as well
        assert answer.status_code == 200
        body = {"current_password": PASSWORD, "new_password": "an even longer horse"}
        alice = elsewhere(alice, app)
        assert alice.post("/api/users/me/password", json=body).status_code == 204
    assert watching.held == [0] * 6


class Meddling(Passwords):
    """Passwords during whose check somebody changes the account."""

    def __init__(self, settings: Settings, meddle: Any) -> None:
        super().__init__(settings)
        self._meddle = meddle

    def matches(self, password_hash: str | None, password: str) -> bool:
        matches = super().matches(password_hash, password)
        meddle, self._meddle = self._meddle, lambda: None
        meddle()
        return matches


def test_a_password_that_is_changed_meanwhile_opens_nothing(
    settings: Settings, alice: Person, context: Flask
) -> None:
    """The other session's change ended all sessions: one that came after would live on."""

    def change() -> None:
        body = {"current_password": PASSWORD, "new_password": "an even longer horse"}
        assert alice.post("/api/users/me/password", json=body).status_code == 204

    with another_app(settings) as app:
        app.extensions["passwords"] = Meddling(settings, change)
        refusal(log_in(app, alice.email, PASSWORD, address=new_address()), 401)
    assert len(alice.get("/api/auth/sessions").get_json()["items"]) == 1


def test_a_hash_that_is_renewed_meanwhile_opens_all_the_same(
    settings: Settings, alice: Person
) -> None:
    """Two sign in at once after the parameters changed."""
    with another_app(settings, password_hash_passes=2) as app:

        def also() -> None:
            assert log_in(app, alice.email, PASSWORD, address=new_address()).status_code == 200

        app.extensions["passwords"] = Meddling(app.extensions["settings"], also)
        assert log_in(app, alice.email, PASSWORD, address=new_address()).status_code == 200


def test_every_refusal_is_the_same_work(settings: Settings, context: Flask) -> None:
    """One verification, with a hash of today's cost, and as many statements."""
    people = {name: new_person(context, name) for name in ("Alice", "Bob", "Ursula")}
    changes: dict[str, dict[str, object]] = {
        "Bob": {"active": False},
        "Ursula": {"password_hash": None},
    }
    for name, values in changes.items():
        change(people[name], **values)
    trials = [(people["Alice"].email, "a guess"), (f"{ids.new_id().hex}@example.com", PASSWORD)]
    trials += [(people[name].email, PASSWORD) for name in changes]
    with another_app(settings) as app, app.app_context():
        log_in(app, "warm@example.com", address=new_address())
        work = []
        for email, password in trials:
            watching = Watching(app.extensions["settings"])
            app.extensions["passwords"] = watching
            with statements(db.engine) as seen:
                refusal(log_in(app, email, password, address=new_address()), 401)
            work.append((len(watching.held), list(seen)))
    assert work == [work[0]] * len(work)
    assert work[0][0] == 1
