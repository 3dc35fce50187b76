"""What one process does counts in the other at its next request."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Barrier, Event

import jwt
import pytest
from flask import Flask, current_app
from sqlalchemy import func, select

from app.core import ids
from app.core.db import main_session
from app.domains.identity.models import RefreshToken
from app.domains.identity.service import rotation
from app.domains.identity.service.rotation import Pace
from app.settings import Settings
from tests.cast import PASSWORD, Person, new_house, new_person
from tests.domains.identity.forgery import encode
from tests.domains.identity.pair import Pair, Visitor, running_pair, visiting

ATTEMPTS = 10
TENANT_REQUESTS = 30
_UNLIMITED = 1_000_000
_REFRESH_SECONDS = 1


@pytest.fixture(scope="module")
def pair(
    app: Flask, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    changes = {
        "login_attempts_per_account_and_address": ATTEMPTS,
        "signing_key_refresh_seconds": _REFRESH_SECONDS,
        "key_set_max_age_seconds": 0,
        "rate_limits": True,
        "rate_limit_timeout_seconds": 10,
        "request_window_seconds": 3600,
        "requests_per_tenant": TENANT_REQUESTS,
        "requests_per_user": _UNLIMITED,
        "requests_per_address": _UNLIMITED,
    }
    with running_pair(settings, tmp_path_factory.mktemp("pair"), **changes) as pair:
        yield pair


@pytest.fixture
def alice(context: Flask) -> Person:
    return new_person(context, "Alice")


def at_once(work: Callable[[int], int], times: int) -> Counter[int]:
    """How often each status was the answer."""
    start = Barrier(times)

    def one(number: int) -> int:
        start.wait(20)
        return work(number)

    with ThreadPoolExecutor(times) as pool:
        return Counter(pool.map(one, range(times), timeout=60))


def test_a_session_that_ends_in_one_is_refused_by_the_other(pair: Pair, alice: Person) -> None:
    here, phone = visiting(alice, pair.here), visiting(alice, pair.there)
    assert phone.get(f"{pair.here}/api/users/me").status_code == 200
    assert phone.get(f"{pair.there}/api/users/me").status_code == 200
    assert here.send("DELETE", f"{pair.here}/api/auth/sessions").json()["ended"] >= 1
    for api in pair.both:
        assert phone.get(f"{api}/api/users/me").status_code == 401
        assert phone.refresh(api).status_code == 401
        assert here.get(f"{api}/api/users/me").status_code == 200


def test_so_is_one_that_signs_out(pair: Pair, alice: Person) -> None:
    visitor = visiting(alice, pair.here)
    assert visitor.send("POST", f"{pair.there}/api/auth/logout").status_code == 204
    for api in pair.both:
        assert visitor.get(f"{api}/api/users/me").status_code == 401


def test_a_role_that_one_changes_counts_in_the_other(
    pair: Pair, context: Flask, alice: Person
) -> None:
    bob = new_person(context, "Bob")
    house = new_house("pair", alice, viewer=bob)
    owner, member = visiting(alice, pair.here), visiting(bob, pair.there)
    path = f"/api/tenants/{house.id}/users/{bob.user_id}"

    def uploads() -> list[int]:
        files = {"file": ("plan.txt", b"a plan")}
        return [
            member.send("POST", f"{api}{house.documents}", files=files).status_code
            for api in pair.both
        ]

    def becomes(role: str) -> None:
        answer = owner.send("PATCH", f"{pair.here}{path}", json={"role": role})
        assert answer.status_code == 200, answer.text

    assert uploads() == [403, 403]
    for role, expected in (("user", 201), ("viewer", 403), ("admin", 201)):
        becomes(role)
        assert uploads() == [expected, expected]
    assert owner.send("DELETE", f"{pair.there}{path}").status_code == 204
    assert uploads() == [404, 404]


def test_parallel_guesses_over_both_are_as_many_as_the_limit(pair: Pair, alice: Person) -> None:
    guesser = Visitor(alice.email)

    def guess(number: int) -> int:
        return guesser.log_in(pair.both[number % 2], f"guess {number}").status_code

    assert at_once(guess, 40) == {401: ATTEMPTS, 429: 40 - ATTEMPTS}
    answers = [guesser.log_in(api) for api in pair.both]
    assert [answer.status_code for answer in answers] == [429, 429]
    assert all(0 < int(answer.headers["Retry-After"]) <= 900 for answer in answers)
    assert Visitor(alice.email).log_in(pair.here).status_code == 200, "from elsewhere"


def test_parallel_requests_over_both_are_as_many_as_the_tenants_limit(
    pair: Pair, context: Flask, alice: Person
) -> None:
    bob = new_person(context, "Bob")
    house, neighbour = new_house("busy", alice, viewer=bob), new_house("quiet", alice)
    people = [visiting(alice, pair.here), visiting(bob, pair.there)]

    def read(number: int) -> int:
        api = pair.both[number // 2 % 2]
        return people[number % 2].get(f"{api}{house.documents}").status_code

    found = at_once(read, 2 * TENANT_REQUESTS)
    assert found == {200: TENANT_REQUESTS, 429: TENANT_REQUESTS}
    for api in pair.both:
        refused = people[0].get(f"{api}{house.documents}")
        assert refused.status_code == 429
        assert '"tenant";r=0;t=' in refused.headers["RateLimit"]
        assert people[0].get(f"{api}{neighbour.documents}").status_code == 200


def test_twenty_refreshes_over_both_have_one_successor(pair: Pair, alice: Person) -> None:
    visitor = visiting(alice, pair.here)
    successors: set[str] = set()

    def refresh(number: int) -> int:
        answer = visitor.refresh(pair.both[number % 2])
        successors.add(answer.json()["refresh_token"])
        return answer.status_code

    assert at_once(refresh, 20) == {200: 20}
    assert len(successors) == 1
    claims = jwt.decode(visitor.tokens["access_token"], options={"verify_signature": False})
    with main_session() as session:
        chain = select(func.count()).where(RefreshToken.session_id == claims["sid"])
        assert session.scalars(chain).one() == 2


class Traffic:
    """Somebody who signs in everywhere and uses every token everywhere, until told to stop."""

    def __init__(self, pair: Pair, person: Person) -> None:
        self._pair = pair
        self._person = person
        self.stop = Event()
        self.refused: list[str] = []
        self.kids: set[str] = set()
        self.rounds = 0

    def run(self, number: int) -> None:
        """The first token as often as the newest, which each of the four workers shall see."""
        first = visiting(self._person, self._pair.here)
        for turn in count(number):
            if self.stop.is_set():
                return
            newest = visiting(self._person, self._pair.both[turn % 2])
            self.kids.add(jwt.get_unverified_header(newest.tokens["access_token"])["kid"])
            for api in self._pair.both:
                for visitor in (newest, newest, newest, first):
                    answer = visitor.get(f"{api}/api/users/me")
                    if answer.status_code != 200:
                        self.refused.append(answer.text)
            self.rounds += 1

    def forge(self) -> None:
        """Names of keys that are none, all the time: each process looks as often as it may."""
        visitor = visiting(self._person, self._pair.here)
        _, payload, signature = visitor.tokens["access_token"].split(".")
        while not self.stop.is_set():
            header = encode({"typ": "JWT", "alg": "RS256", "kid": ids.new_id().hex})
            visitor.tokens["access_token"] = f"{header}.{payload}.{signature}"
            for api in self._pair.both:
                assert visitor.get(f"{api}/api/users/me").status_code == 401


def test_no_valid_token_is_refused_while_keys_rotate(pair: Pair, alice: Person) -> None:
    """Each process goes on with what it knew for a second; the key that follows waits longer."""
    traffic = Traffic(pair, alice)
    pace = Pace(published=timedelta(seconds=_REFRESH_SECONDS + 1), retiring=timedelta(days=1))
    secrets = current_app.extensions["secrets"]

    def take(action: str) -> str:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not traffic.refused:
            with main_session() as session:
                for taken in rotation.advance(session, secrets, pace, oldest=timedelta()):
                    if taken.action == action:
                        return str(taken.kid)
            time.sleep(0.05)
        raise AssertionError(traffic.refused[:1] or f"no key was there to {action}")

    def until(arrived: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not arrived():
            assert time.monotonic() < deadline
            assert not traffic.refused
            time.sleep(0.05)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(traffic.run, number) for number in range(3)]
        running.append(pool.submit(traffic.forge))
        try:
            until(lambda: traffic.rounds > 0)
            signing = []
            for _ in range(2):
                signing.append(take("activate"))
                until(lambda: signing[-1] in traffic.kids)
            rounds = traffic.rounds
            until(lambda: traffic.rounds > rounds + 3)
        finally:
            traffic.stop.set()
        for each in running:
            each.result(timeout=60)
    assert traffic.refused == []
    assert len(traffic.kids) >= 3


def test_without_redis_what_was_revoked_stays_so(pair: Pair, alice: Person, tmp_path: Path) -> None:
    ended, living = visiting(alice, pair.here), visiting(alice, pair.there)
    assert ended.send("POST", f"{pair.here}/api/auth/logout").status_code == 204

    def nothing_has_changed() -> None:
        for api in pair.both:
            assert ended.get(f"{api}/api/users/me").status_code == 401
            assert ended.refresh(api).status_code == 401
            assert living.get(f"{api}/api/users/me").status_code == 200

    pair.stop_redis()
    nothing_has_changed()
    for api in pair.both:
        answer = Visitor(alice.email).log_in(api, PASSWORD)
        assert answer.status_code == 503
        assert answer.json()["code"] == "throttle_unavailable"
        assert int(answer.headers["Retry-After"]) > 0
    pair.start_empty_redis(tmp_path / "valkey")
    nothing_has_changed()
    for api in pair.both:
        assert Visitor(alice.email).log_in(api, PASSWORD).status_code == 200
