"""The counters: exact, atomic over all limits of a route, and closed where they cannot count."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr
from redis import Redis

from app.core import ids
from app.core.throttle import (
    CannotCount,
    Counters,
    Limit,
    Subject,
    Throttle,
    Throttled,
    sends_mail,
)
from app.settings import Settings
from embedded.ports import free_port
from tests.core.apps import another_app

ALICE = "alice@example.com"


class Door:
    """One route's limits, with counters that no other test knows."""

    def __init__(self, app: Flask, *limits: Limit) -> None:
        self.redis: Redis = app.extensions["redis"]
        self.counters: Counters = app.extensions["counters"]
        self.throttle = Throttle(f"test-{ids.new_id().hex}", lambda _settings: limits)

    def knock(self, account: str = ALICE, address: str | None = "203.0.113.7") -> Any:
        return self.counters.admit(self.throttle, account=account, address=address)

    def admits(self, account: str = ALICE, address: str | None = "203.0.113.7") -> bool:
        try:
            self.knock(account, address)
        except Throttled:
            return False
        return True

    def counters_kept(self) -> list[str]:
        found: list[str] = list(self.redis.scan_iter(f"*:throttle:{self.throttle.name}:*"))
        return found

    def age(self, seconds: float) -> None:
        """As if all that was counted had been that much earlier."""
        for key in self.counters_kept():
            if self.redis.type(key) == "zset":
                entries: Any = self.redis.zrange(key, 0, -1, withscores=True)
                for attempt, at in entries:
                    self.redis.zadd(key, {attempt: at - seconds * 1_000_000})


def limit(*by: Subject, attempts: int = 3, window: int = 60, but_known: bool = False) -> Limit:
    return Limit(by=by, attempts=attempts, window_seconds=window, but_known=but_known)


Open = Callable[..., Door]


@pytest.fixture
def door(app: Flask) -> Iterator[Open]:
    opened: list[Door] = []

    def open_door(*limits: Limit) -> Door:
        opened.append(Door(app, *limits))
        return opened[-1]

    yield open_door
    for each in opened:
        if keys := each.counters_kept():
            each.redis.delete(*keys)


def test_as_many_as_the_limit_says(door: Open) -> None:
    one = door(limit("account"))
    assert [one.admits() for _ in range(5)] == [True, True, True, False, False]


def test_the_refusal_says_what_refuses_and_for_how_long(door: Open) -> None:
    one = door(limit("account", attempts=1, window=60))
    one.knock()
    one.age(18.5)
    with pytest.raises(Throttled) as refused:
        one.knock()
    name = f"{one.throttle.name}-account"
    assert refused.value.retry_after == 42
    assert refused.value.headers == {
        "RateLimit-Policy": f'"{name}";q=1;w=60',
        "RateLimit": f'"{name}";r=0;t=42',
    }


def test_the_window_slides(door: Open) -> None:
    """One leaves it, and one may enter; a window that begins anew would let three in."""
    one = door(limit("account", attempts=3, window=60))
    one.knock()
    one.age(30)
    one.knock()
    one.knock()
    one.age(31)
    assert [one.admits() for _ in range(2)] == [True, False]


def test_who_waits_as_long_as_told_is_admitted(door: Open) -> None:
    one = door(limit("account", attempts=2, window=10))
    one.knock()
    one.age(4)
    one.knock()
    with pytest.raises(Throttled) as refused:
        one.knock()
    assert refused.value.retry_after is not None
    one.age(refused.value.retry_after)
    assert one.admits()


def test_a_smaller_limit_counts_what_a_larger_one_admitted(door: Open, app: Flask) -> None:
    """The settings changed: the wait is until as few are left as are allowed now."""
    one = door(limit("account", attempts=3, window=60))
    for _ in range(3):
        one.knock()
        one.age(10)
    one.throttle = Throttle(one.throttle.name, lambda _: (limit("account", attempts=1),))
    with pytest.raises(Throttled) as refused:
        one.knock()
    assert refused.value.retry_after == 50


def test_refusals_are_not_counted(door: Open) -> None:
    """Who hammers does not prolong the wait: neither his own nor his victim's."""
    one = door(limit("account", attempts=1, window=60))
    one.knock()
    assert not any(one.admits() for _ in range(20))
    one.age(60)
    assert one.admits()


def test_what_one_limit_refuses_no_other_counts(door: Open) -> None:
    one = door(limit("address", attempts=1), limit("account", attempts=2))
    one.knock()
    assert not any(one.admits() for _ in range(10))
    assert one.admits(address="203.0.113.8"), "the account has one left"


def test_accounts_and_addresses_are_counted_apart(door: Open) -> None:
    one = door(limit("account", attempts=1), limit("address", attempts=2), limit(attempts=3))
    assert one.admits("a@example.com", "203.0.113.1")
    assert not one.admits("a@example.com", "203.0.113.2"), "the account"
    assert one.admits("b@example.com", "203.0.113.1")
    assert not one.admits("c@example.com", "203.0.113.1"), "the address"
    assert one.admits("c@example.com", "203.0.113.2")
    assert not one.admits("d@example.com", "203.0.113.3"), "over all"


def test_capitals_make_no_other_account(door: Open) -> None:
    one = door(limit("account", attempts=1))
    assert one.admits("Alice@Example.COM")
    assert not one.admits("alice@example.com")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        (None, "", True),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_site(
    *, door: Open, first: str | None, second: str | None, same: bool
) -> None:
    one = door(limit("address", attempts=1))
    assert one.admits(address=first)
    assert one.admits(address=second) is not same


def test_parallel_attempts_do_not_overrun_it(settings: Settings, door: Open) -> None:
    """Twenty threads over the clients of two processes."""
    one = door(limit("account", attempts=7), limit("address", attempts=50))
    start = Barrier(20)
    with another_app(settings) as other:
        counters = [one.counters, other.extensions["counters"]]

        def knock(number: int) -> bool:
            start.wait(10)
            try:
                counters[number % 2].admit(one.throttle, account=ALICE, address="203.0.113.7")
            except Throttled:
                return False
            return True

        with ThreadPoolExecutor(20) as pool:
            assert sum(pool.map(knock, range(20), timeout=30)) == 7


def test_a_success_takes_back_itself_and_the_pairs_failures(door: Open) -> None:
    one = door(limit("account", "address", attempts=2), limit("address", attempts=4))
    one.knock()
    one.knock().succeeded()
    assert [one.admits() for _ in range(3)] == [True, True, False], "the pair begins anew"
    assert one.admits("b@example.com")
    assert not one.admits("c@example.com"), "the address has four failures of all accounts"


def test_an_account_of_ones_own_resets_no_address(door: Open) -> None:
    """Mallory signs in between her guesses."""
    one = door(limit("account", "address", attempts=2), limit("address", attempts=5))
    admitted = 0
    for guess in range(20):
        if one.admits(f"victim{guess}@example.com"):
            admitted += 1
        try:
            one.knock("mallory@example.com").succeeded()
        except Throttled:
            continue
    assert admitted == 5


def test_where_it_succeeded_before_an_account_cannot_be_locked_out(door: Open) -> None:
    one = door(limit("account", attempts=3, but_known=True), limit(attempts=4, but_known=True))
    home, anywhere = "203.0.113.7", "198.51.100.9"
    one.knock(address=home).succeeded()
    assert [one.admits(address=anywhere) for _ in range(4)] == [True, True, True, False]
    assert one.admits("b@example.com", anywhere)
    assert not one.admits("c@example.com", anywhere), "over all"
    for _ in range(5):
        one.knock(address=home).succeeded()
    assert not one.admits(address=anywhere)


def test_keys_name_nobody_and_expire(door: Open, settings: Settings) -> None:
    one = door(limit("account", "address"), limit("account"), limit(but_known=True))
    one.knock().succeeded()
    one.knock()
    assert len(one.counters_kept()) == 3
    for key in one.counters_kept():
        assert key.startswith(f"{settings.installation_id}:throttle:")
        assert "alice" not in key
        assert "203.0" not in key
        left = one.redis.ttl(key)
        assert isinstance(left, int)
        assert 0 < left <= (settings.login_known_address_seconds if ":known:" in key else 60)


def test_only_our_key_tells_whose_counter_it_is(settings: Settings, door: Open) -> None:
    one = door(limit("account", attempts=1))
    one.knock()
    secret = SecretStr(settings.secret_key.get_secret_value()[::-1])
    with another_app(settings, secret_key=secret) as other:
        other.extensions["counters"].admit(one.throttle, account=ALICE, address=None)
    assert len(one.counters_kept()) == 2


def test_only_the_first_refusal_of_a_window_is_worth_an_event(door: Open) -> None:
    one = door(limit("account", attempts=1, window=60))
    one.knock()
    firsts = []
    for _ in range(3):
        with pytest.raises(Throttled) as refused:
            one.knock()
        firsts.append(refused.value.first)
    assert firsts == [True, False, False]


def test_routes_that_send_mail_have_their_limits_from_the_settings(settings: Settings) -> None:
    changes = {"mail_requests_per_account": 1, "mail_requests_per_address": 2}
    throttle = sends_mail(f"test-{ids.new_id().hex}")
    with another_app(settings, **changes) as app:
        counters: Counters = app.extensions["counters"]
        counters.admit(throttle, account="a@example.com", address="::1")
        for account, refusing in (("a@example.com", "account"), ("c@example.com", "address")):
            with pytest.raises(Throttled, match="Too many") as refused:
                counters.admit(throttle, account=account, address="::1")
            assert refused.value.event.reason == f"{throttle.name}-{refusing}"
            if refusing == "account":
                counters.admit(throttle, account="b@example.com", address="::1")


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of somebody who listens and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize("way", ["closed", "silent"])
def test_without_redis_nobody_is_admitted(settings: Settings, silent: int, way: str) -> None:
    port = free_port() if way == "closed" else silent
    changes = {"redis_url": SecretStr(f"redis://127.0.0.1:{port}/0"), "redis_timeout_seconds": 0.2}
    throttle = Throttle("test", lambda _: (limit("account"),))
    with another_app(settings, **changes) as app, pytest.raises(CannotCount):
        app.extensions["counters"].admit(throttle, account=ALICE, address=None)


def test_a_redis_that_cannot_write_admits_nobody(door: Open) -> None:
    """Full, or a replica: whatever the error is, it is closed."""
    one = door(limit("account"))
    one.knock()
    (key,) = one.counters_kept()
    one.redis.delete(key)
    one.redis.set(key, "no sorted set")
    with pytest.raises(CannotCount):
        one.knock()


def test_what_succeeded_stays_so_when_redis_goes_away(settings: Settings, app: Flask) -> None:
    one = Door(app, limit("account", "address"))
    attempt = one.knock()
    object.__setattr__(attempt, "redis", Redis(port=free_port()))
    attempt.succeeded()
    assert len(one.counters_kept()) == 1
    one.redis.delete(*one.counters_kept())
