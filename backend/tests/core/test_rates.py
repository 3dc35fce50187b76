"""How many requests: exact over all limits, of nobody else's account, and open without Redis."""

import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Barrier
from typing import Any

import pytest
from flask import Flask
from prometheus_client import generate_latest
from pydantic import SecretStr
from redis import Redis

from app.core import ids, metrics, rates
from app.core.http import stated_endpoint
from app.core.rates import Rates
from app.settings import Settings
from embedded.ports import free_port
from embedded.valkey import ValkeyServer
from tests.cast import Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere

WINDOW = 3600
STEP = WINDOW * 1_000_000 // 60
LIMITS = {"requests_per_user": 4, "requests_per_tenant": 6, "requests_per_address": 9}
ME = "/api/users/me"


@contextmanager
def limited(settings: Settings, **changes: Any) -> Iterator[Flask]:
    """An application whose counters no other test knows; a loaded machine's Redis has time."""
    own = {
        "secret_key": SecretStr(ids.new_token()),
        "rate_limits": True,
        "request_window_seconds": WINDOW,
        "rate_limit_timeout_seconds": 10.0,
    }
    with another_app(settings, **own | LIMITS | changes) as app:
        yield app


@pytest.fixture
def guarded(settings: Settings) -> Iterator[Flask]:
    with limited(settings) as app:
        yield app


@pytest.fixture
def alice(context: Flask) -> Person:
    return new_person(context, "Alice")


@pytest.fixture
def mallory(context: Flask) -> Person:
    return new_person(context, "Mallory")


@pytest.fixture
def counter(guarded: Flask) -> Rates:
    found: Rates = guarded.extensions["rates"]
    return found


def left(rates: Rates, **subjects: str) -> dict[str, int] | str:
    """What is left of each limit, or the name of the one that refuses."""
    counted = rates.count(subjects)
    assert counted is not None
    return counted.refused or counted.left


def age(redis: Redis, rates: Rates, steps: int, **subjects: str) -> None:
    """As if all that was counted had been so many steps of the window earlier."""
    for name, each in subjects.items():
        key = rates._key(name, each)
        kept: Any = redis.hgetall(key)
        redis.delete(key)
        moved: dict[Any, Any] = {"n": kept.pop("n"), "at": int(kept.pop("at")) - steps}
        moved |= {str((int(slot) - steps) % 61): count for slot, count in kept.items()}
        redis.hset(key, mapping=moved)


def test_every_limit_admits_as_many_as_it_says(counter: Rates) -> None:
    who = {"address": "203.0.113.7", "user": "alice"}
    told = [left(counter, **who) for _ in range(6)]
    assert told[0] == {"address": 8, "user": 3}
    assert told[3] == {"address": 5, "user": 0}
    assert told[4:] == ["user", "user"]
    assert left(counter, address="203.0.113.7") == {"address": 4}, "what is refused, none counts"
    assert left(counter, address="203.0.113.8", user="bob") == {"address": 8, "user": 3}


def test_the_window_moves(app: Flask, counter: Rates) -> None:
    """All that was counted leaves it together with its step, and not before.

    A step of real time may pass meanwhile, so that each age is one that two steps have in common.
    """
    redis = app.extensions["redis"]
    for _ in range(2):
        left(counter, user="alice")
    age(redis, counter, 30, user="alice")
    assert left(counter, user="alice") == {"user": 1}
    age(redis, counter, 29, user="alice")
    assert left(counter, user="alice") == {"user": 0}
    refused = counter.count({"user": "alice"})
    assert refused is not None
    assert 0 < refused.wait <= 2 * STEP / 1_000_000
    age(redis, counter, 2, user="alice")
    assert left(counter, user="alice") == {"user": 1}
    age(redis, counter, 1000, user="alice")
    assert left(counter, user="alice") == {"user": 3}


def test_a_counter_stays_small_whatever_the_limit(settings: Settings) -> None:
    with limited(settings, requests_per_user=10**9) as app:
        counter: Rates = app.extensions["rates"]
        for _ in range(70):
            left(counter, user="alice")
            age(counter.redis, counter, 1, user="alice")
        key = counter._key("user", "alice")
        kept: Any = counter.redis.hgetall(key)
        assert len(kept) <= 2 + 61
        assert int(kept["n"]) == sum(int(kept[slot]) for slot in kept if slot.isdecimal())
        left(counter, user="alice")
        seconds = counter.redis.ttl(key)
        assert isinstance(seconds, int)
        assert 0 < seconds <= WINDOW * 62 // 60


def test_parallel_requests_do_not_overrun_it(settings: Settings, counter: Rates) -> None:
    start = Barrier(20)
    key = {"secret_key": SecretStr("x" * 40)}
    with limited(settings, **key) as one, limited(settings, **key) as other:
        both = [app.extensions["rates"] for app in (one, other)]
        who = ids.new_id().hex

        def ask(number: int) -> bool:
            start.wait(20)
            return left(both[number % 2], user=who) != "user"

        with ThreadPoolExecutor(20) as pool:
            assert sum(pool.map(ask, range(20), timeout=60)) == 4


def test_answers_say_what_is_left(guarded: Flask, alice: Person) -> None:
    there = elsewhere(alice, guarded)
    answer = there.get(ME)
    assert answer.headers["RateLimit-Policy"] == '"address";q=9;w=3600, "user";q=4;w=3600'
    assert answer.headers["RateLimit"] == '"address";r=8, "user";r=3'
    refusal(there.get("/api/tenants/current"), 400)
    refusal(there.send("PATCH", ME, json=[]), 422)
    there.get(ME)
    assert there.get(ME).headers["RateLimit"] == '"address";r=4, "user";r=0'
    answer = there.get(ME)
    refusal(answer, 429, "rate_limited")
    wait = int(answer.headers["Retry-After"])
    assert 0 < wait <= WINDOW * 61 // 60
    assert answer.headers["RateLimit"] == f'"address";r=4, "user";r=0;t={wait}'


def test_a_tenants_requests_cost_no_other_tenant(
    settings: Settings, context: Flask, alice: Person, mallory: Person
) -> None:
    """Mallory's requests for Alice's tenant cost it nothing, her own cost hers alone."""
    bob = new_person(context, "Bob")
    acme, globex = new_house("acme", alice, viewer=bob), new_house("globex", mallory)
    with limited(settings, requests_per_user=1000, requests_per_address=1000) as app:
        owner, viewer, rival = (elsewhere(each, app) for each in (alice, bob, mallory))
        for _ in range(10):
            refusal(rival.get(acme.documents), 404)
        assert [rival.get(globex.documents).status_code for _ in range(7)] == [200] * 6 + [429]
        answers = [who.get(acme.documents) for who in (owner, viewer) * 4]
        assert [answer.status_code for answer in answers] == [200] * 6 + [429] * 2
        assert '"tenant";r=0;t=' in answers[-1].headers["RateLimit"]
        assert rival.get(ME).status_code == 200, "what is no tenant's is not refused for one"


def test_who_is_not_known_counts_for_the_address(guarded: Flask, alice: Person) -> None:
    client = guarded.test_client()
    for _ in range(9):
        refusal(client.get(ME, headers={"Authorization": "Bearer none"}), 401)
    refusal(client.get(ME), 429, "rate_limited")
    refusal(client.post("/api/auth/refresh", json={}), 429, "rate_limited")
    elsewhere_at = {"REMOTE_ADDR": "203.0.113.9"}
    refusal(client.get(ME, environ_base=elsewhere_at), 401)


def test_limits_of_a_route_are_told_beside_them(settings: Settings, alice: Person) -> None:
    with limited(settings, login_attempts_per_account_and_address=1) as app:
        body = {"email": alice.email, "password": "a guess"}
        answers = [app.test_client().post("/api/auth/login", json=body) for _ in range(2)]
    refusal(answers[0], 401)
    refusal(answers[1], 429, "too_many_requests")
    assert answers[1].headers["RateLimit"].startswith('"login-account-address";r=0;t=')
    assert answers[1].headers["RateLimit"].endswith('"address";r=7')


def test_these_are_never_limited(guarded: Flask) -> None:
    free = {
        rule.rule
        for rule in guarded.url_map.iter_rules()
        if (stated := stated_endpoint(guarded.view_functions[rule.endpoint])) and not stated.limited
    }
    assert free == {
        "/health", "/health/ready", "/metrics",
        "/api/openapi.json", "/api/docs", "/api/docs/<name>",
    }  # fmt: skip
    answers = [guarded.test_client().get("/health") for _ in range(12)]
    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit" not in answers[0].headers


def test_they_are_off_under_testing_unless_set(app: Flask, settings: Settings) -> None:
    assert settings.rate_limits is False
    assert "RateLimit" not in app.test_client().get(ME).headers
    given = settings.model_dump()
    assert Settings(**given | {"environment": "development", "rate_limits": None}).rate_limits
    assert Settings(**given | {"rate_limits": True}).rate_limits


def limit_figure(limit: str) -> float:
    return metrics._limited.labels(limit)._value.get()  # type: ignore[no-any-return]


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of somebody who listens and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize("way", ["closed", "silent"])
def test_without_redis_requests_pass_and_nobody_signs_in(
    *,
    settings: Settings,
    alice: Person,
    silent: int,
    way: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One request waits for Redis; those that follow do not."""
    port = free_port() if way == "closed" else silent
    away = {
        "redis_url": SecretStr(f"redis://127.0.0.1:{port}/0"),
        "redis_timeout_seconds": 0.2,
        "rate_limit_timeout_seconds": 0.2,
        "secret_key": settings.secret_key,
    }
    monkeypatch.setattr(rates, "_PAUSE_SECONDS", 600.0)
    asked = 0
    with limited(settings, **away) as app, caplog.at_level(logging.WARNING):
        there, before = elsewhere(alice, app), limit_figure("uncounted")
        question = app.extensions["rates"]._ask

        def ask(*given: Any) -> Any:
            nonlocal asked
            asked += 1
            return question(*given)

        monkeypatch.setattr(app.extensions["rates"], "_ask", ask)
        answers = [there.get(ME) for _ in range(8)]
        body = {"email": alice.email, "password": "a guess"}
        login = app.test_client().post("/api/auth/login", json=body)
    assert [answer.status_code for answer in answers] == [200] * 8
    assert "RateLimit" not in answers[0].headers
    assert asked == 1
    refusal(login, 503, "throttle_unavailable")
    assert limit_figure("uncounted") == before + 9
    assert [r.getMessage() for r in caplog.records].count("requests are not counted") == 1


def test_they_are_counted_again_when_redis_is_back(
    settings: Settings, alice: Person, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_PAUSE_SECONDS", 0.05)
    server = ValkeyServer(tmp_path / "valkey", durable=False)
    server.start()
    url = SecretStr(server.url)
    with limited(settings, redis_url=url, secret_key=settings.secret_key) as app:
        there = elsewhere(alice, app)
        assert "RateLimit" in there.get(ME).headers
        server.stop()
        assert "RateLimit" not in there.get(ME).headers
        again = ValkeyServer(tmp_path / "again", durable=False, port=server.port)
        again._password = server._password
        with again:
            deadline = time.monotonic() + 30
            while "RateLimit" not in there.get(ME).headers:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_a_refusal_is_a_figure_and_no_name_is_a_key(
    guarded: Flask, alice: Person, context: Flask
) -> None:
    there, before = elsewhere(alice, guarded), limit_figure("user")
    for _ in range(6):
        there.get(ME)
    assert limit_figure("user") == before + 2
    assert alice.user_id.hex not in generate_latest(metrics._registry).decode()
    redis: Redis = context.extensions["redis"]
    for key in redis.scan_iter("*:throttle:requests:*"):
        assert alice.user_id.hex not in key
        assert "127.0.0.1" not in key
