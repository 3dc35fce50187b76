"""The generator of load tells what all would have seen, and not those few that it let through."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from types import ModuleType
from typing import Any, Final

import pytest

from embedded.ports import LOOPBACK, free_port
from tests.paths import PROJECT

SECONDS: Final = 1.5
RATE: Final = 100
STALL: Final = 0.8


@pytest.fixture(scope="module")
def traffic() -> ModuleType:
    sys.path.insert(0, str(PROJECT / "bench"))
    try:
        import traffic  # type: ignore[import-not-found]  # noqa: PLC0415  # of bench/
    finally:
        sys.path.remove(str(PROJECT / "bench"))
    return traffic  # type: ignore[no-any-return]


class Server(ThreadingHTTPServer):
    """Answers at once, but for one time in which nobody gets an answer."""

    daemon_threads = True
    request_queue_size = 1000

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, Handler)
        self.lock = Lock()
        self.stalls_at = float("inf")
        self.silent = Event()

    def stall(self) -> None:
        with self.lock:
            now = time.monotonic()
            if self.stalls_at == float("inf"):
                self.stalls_at = now + 0.2
        if 0 <= now - self.stalls_at < STALL:
            time.sleep(self.stalls_at + STALL - now)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.path == "/never":
            self.server.silent.wait(30)
        self.server.stall()
        self.send_response(503 if self.path == "/refused" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server((LOOPBACK, free_port())) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.silent.set()
            server.shutdown()


def slow(run: Any) -> int:
    return sum(each.latency_ms > 300 for each in run.samples)


def test_a_pause_is_seen_by_all_who_come_in_it(traffic: ModuleType) -> None:
    """The control is a closed loop, whose one client is the only one that waited."""
    with serving() as server:
        requests = traffic.Requests(server.server_port, [traffic.get("/")], [])
        found = traffic.offer(requests, seconds=SECONDS, rate=RATE)
    summary = found.summary()
    assert summary.offered == summary.done == SECONDS * RATE
    assert slow(found) > 30  # of the fifty that were due in the first half second of the pause
    assert summary.p95_ms > 300
    with serving() as server:
        requests = traffic.Requests(server.server_port, [traffic.get("/")], [])
        control = traffic.offer(requests, seconds=SECONDS, clients=1)
    assert slow(control) < 10


def test_what_is_refused_or_never_answered_is_not_done(traffic: ModuleType) -> None:
    with serving() as server:
        port = server.server_port
        refused = traffic.Requests(port, [traffic.get("/refused")], [])
        found = traffic.offer(refused, seconds=0.5, rate=20).summary()
        assert (found.offered, found.done, found.refused, found.failed) == (10, 0, 10, 0)
        never = traffic.Requests(port, [traffic.get("/never")], [])
        found = traffic.offer(never, seconds=0.2, rate=20, patience=1.0).summary()
        assert (found.done, found.errors) == (0, {"timed out": found.offered})
    found = traffic.offer(refused, seconds=0.2, rate=20).summary()  # nobody listens any more
    assert (found.done, found.errors) == (0, {"broken off": found.offered})


def test_percentiles(traffic: ModuleType) -> None:
    assert [traffic.percentile(range(1, 101), each) for each in (50, 99, 100)] == [50, 99, 100]
    assert traffic.percentile([7.0], 50) == 7.0
    assert traffic.percentile([], 99) == 0.0
