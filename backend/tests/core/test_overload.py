"""More requests than threads: who cannot be answered in time is refused, and no probe ever.

The one thread is held by a request whose head never ends, so that nothing here depends on speed.
"""

import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from api_worker import Pace
from app.settings import Settings
from tests.core.live import running_api
from tests.core.test_gunicorn import head, status
from tests.embedded.processes import wait_for

SECONDS: Final = 30
ORIGIN: Final = "https://app.acme.example"
WAIT: Final = 1.0


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def live(settings: Settings, logs: Path) -> Iterator[str]:
    few = {"api_workers": 1, "api_threads": 1, "api_wait_seconds": WAIT}
    with running_api(settings, logs, cors_origins=(ORIGIN,), **few) as url:
        yield url


@contextmanager
def connected(live: str) -> Iterator[socket.socket]:
    address = urlsplit(live)
    with closing(socket.create_connection((address.hostname, address.port), SECONDS)) as wire:
        yield wire


@contextmanager
def held(live: str) -> Iterator[socket.socket]:
    """While the block runs, the API has no thread for anybody else."""
    with connected(live) as wire:
        wire.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        wait_for(lambda: refused(live))
        yield wire


def refused(live: str) -> bool:
    with connected(live) as wire:
        wire.sendall(head("GET", "/api/users/me"))
        return status(read(wire)) == 503


def read(wire: socket.socket) -> bytes:
    """One answer that tells its length."""
    answer = b""
    while (end := answer.find(b"\r\n\r\n")) < 0:
        answer += received(wire)
    length = next(
        int(line.split(b":")[1])
        for line in answer[:end].split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(answer) < end + 4 + length:
        answer += received(wire)
    return answer


def received(wire: socket.socket) -> bytes:
    piece = wire.recv(65_536)
    assert piece, "the connection ended before the answer"
    return piece


def figure(live: str, settings: Settings, name: str) -> float:
    assert settings.metrics_token is not None
    token = settings.metrics_token.get_secret_value()
    text = ask(live, "/metrics", {"Authorization": f"Bearer {token}"}).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )


def ask(live: str, path: str, headers: dict[str, str] | None = None) -> requests.Response:
    return requests.get(live + path, headers=headers, timeout=SECONDS)


def test_a_refusal_is_what_the_contract_says(live: str) -> None:
    given = {"Origin": ORIGIN, "X-Request-Id": "chosen-by-the-caller-0001"}
    with held(live):
        answers = [ask(live, "/api/users/me", given), ask(live, "/api/users/me")]
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.json().keys() == {
            *("type", "title", "status", "code", "detail", "request_id"),
        }
        assert answer.json()["code"] == "overloaded"
        assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    own, stranger = answers
    assert own.headers["X-Request-Id"] == "chosen-by-the-caller-0001"
    assert own.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Access-Control-Allow-Origin" not in stranger.headers
    assert own.json()["request_id"] != stranger.json()["request_id"]


def test_probes_are_answered(live: str, settings: Settings) -> None:
    with held(live):
        assert ask(live, "/health").status_code == 200
        assert ask(live, "/health/ready").status_code in {200, 503}
        assert ask(live, "/health/ready").json().get("code") != "overloaded"
        assert figure(live, settings, "tenantry_requests_shed_total") >= 1


def test_it_is_counted_and_told(live: str, settings: Settings, logs: Path) -> None:
    before = figure(live, settings, "tenantry_requests_shed_total")
    with held(live):
        assert refused(live)
    assert figure(live, settings, "tenantry_requests_shed_total") >= before + 2
    told = [json.loads(line) for line in (logs / "api.log").read_text().splitlines() if "{" in line]
    assert [line for line in told if line["message"] == "overloaded: requests were refused"]


def test_a_refusal_costs_the_client_no_connection(live: str) -> None:
    """Unless it is sending more than anybody wants to wait for."""
    body = b'{"email": "alice@example.com", "password": "x"}'
    json_type, length = "Content-Type: application/json", f"Content-Length: {len(body)}"
    post = head("POST", "/api/auth/login", json_type, length) + body
    with held(live), connected(live) as wire:
        for sent in (post, head("GET", "/api/users/me"), post):
            wire.sendall(sent)
            answer = read(wire)
            assert status(answer) == 503
            assert b"Connection: keep-alive" in answer
        wire.sendall(head("POST", "/api/auth/login", json_type, "Content-Length: 1000000"))
        assert b"Connection: close" in read(wire)


def test_it_is_over_when_the_thread_is_free(live: str) -> None:
    with held(live) as holding:
        holding.sendall(b"\r\n")
        assert status(read(holding)) == 200
        assert ask(live, "/api/users/me").status_code == 401


def test_who_comes_to_a_queue_that_stands_does_not_wait_in_it(live: str) -> None:
    """It is refused before the one who came first, and who has waited for long enough then."""
    with held(live):
        wait_for(lambda: overtaken(live))


def overtaken(live: str) -> bool:
    """Whether one who came later was refused while the first still waited."""
    with ExitStack() as wires:
        first = wires.enter_context(connected(live))
        first.sendall(head("GET", "/api/users/me"))
        later: list[socket.socket] = []
        while True:
            later.append(wires.enter_context(connected(live)))
            later[-1].sendall(head("GET", "/api/users/me"))
            answered, _, _ = select.select([first, *later], [], [], 0.05)
            if answered:
                assert status(read(answered[0])) == 503
                return first not in answered


def test_what_is_no_request_is_none_here_either(live: str) -> None:
    with held(live), connected(live) as wire:
        wire.sendall(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
        answer = wire.recv(65_536)
        assert not answer or status(answer) == 400


def test_the_pace_of_a_queue() -> None:
    pace = Pace()
    begun = time.monotonic()
    assert pace.arrive_behind(0, begun) == 0
    for second in range(100):
        pace.start(begun + second, waited=True)
    assert pace.arrive_behind(10, begun + 99) == pytest.approx(10, rel=0.1)  # one a second
    assert pace.arrive_behind(10, begun + 109) == pytest.approx(100)  # it stands still
    assert pace.arrive_behind(0, begun + 109) == 0
    for tenth in range(100):
        pace.start(begun + 110 + tenth / 10, waited=True)
    assert pace.arrive_behind(10, begun + 119.9) == pytest.approx(1, rel=0.2)
