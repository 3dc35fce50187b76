"""gunicorn's threaded worker, which refuses at once what it could not answer in time.

gthread takes every connection and lets requests wait for a thread without end: given more than it
can do, it makes all of them wait until their clients have left. Here none waits for longer than
API_WAIT_SECONDS, and one that would have to wait for more than half of that, going by how fast the
queue moves, is refused when it comes: 503 `overloaded`, by threads that do nothing else. Probes are
never refused; these threads answer them where the others have no time.

gunicorn's master imports this and must not import the application, which HUP loads anew: all that
is said comes from ``app.core.overload``, by way of the application that the worker has loaded.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from gunicorn import util  # type: ignore[import-untyped]
from gunicorn.workers.gthread import (  # type: ignore[import-untyped]
    _DEFER,
    TConn,
    ThreadWorker,
)

_REFUSERS: Final = 4
# Beside this worker's own events: how often it looks for those who have waited for too long.
_LOOK_EVERY: Final = 0.1
# A thread that was free takes no longer than that to begin.
_AT_ONCE: Final = 0.002
# For what a client still has to send of a request that is refused; a larger body is not waited for.
_PATIENCE_SECONDS: Final = 0.25
_SMALL_BODY: Final = 65_536

# Each start of a request counts so much in how fast the queue moves.
_SHARE: Final = 1 / 16

# In place of whether a connection is kept: another thread has it; it is closed already.
_TAKEN: Final = object()
_CLOSED: Final = object()


class Pace:
    """How fast a queue moves: the seconds from one start to the next while others wait."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._started = time.monotonic()

    def start(self, now: float, *, waited: bool) -> None:
        """One is begun; whether it had to wait for a thread."""
        if waited:
            self._seconds += _SHARE * (now - self._started - self._seconds)
        self._started = now

    def arrive_behind(self, ahead: int, now: float) -> float:
        """What one who comes has to expect. A queue that stands still gets slower all the time."""
        if not ahead:
            self._started = now
        return ahead * max(self._seconds, now - self._started)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Its queue has an end."""

    def init_process(self) -> None:
        # In the order of arrival. Whoever pops a connection has it: a thread that serves, or one
        # that refuses.
        self._waiting: dict[TConn, float] = {}
        self._pace = Pace()
        self._refusers = ThreadPoolExecutor(_REFUSERS, thread_name_prefix="refusals")
        super().init_process()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self._overload = self.wsgi.extensions["overload"]

    @property
    def waiting(self) -> int:
        """How many requests have come and are not begun."""
        return len(self._waiting)

    def enqueue_req(self, conn: TConn) -> None:
        now = time.monotonic()
        expected = self._pace.arrive_behind(len(self._waiting), now)
        if expected > self._overload.longest_wait / 2:
            self._turn_away(conn)
            return
        self._waiting[conn] = now
        super().enqueue_req(conn)

    def handle(self, conn: TConn) -> object:
        arrived = self._waiting.pop(conn, None)
        if arrived is None:
            return _TAKEN
        now = time.monotonic()
        self._pace.start(now, waited=now - arrived > _AT_ONCE)
        if now - arrived > self._overload.longest_wait:
            return self._refuse(conn)
        self._overload.note_arrival(arrived)
        return super().handle(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(
            min(timeout, _LOOK_EVERY) if self._waiting else timeout
        )
        late = time.monotonic() - self._overload.longest_wait
        for conn, arrived in list(self._waiting.items()):
            if arrived > late:
                break
            if self._waiting.pop(conn, None) is not None:
                self._turn_away(conn)

    def finish_request(self, conn: TConn, fs: "Future[object]") -> None:
        result = None if fs.cancelled() or fs.exception() else fs.result()
        if result is _CLOSED:
            self.nr_conns -= 1
        elif result is not _TAKEN:
            super().finish_request(conn, fs)

    def _turn_away(self, conn: TConn) -> None:
        refused = self._refusers.submit(self._refuse, conn)
        refused.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def _refuse(self, conn: TConn) -> object:
        """Reads the request's head, and answers without asking the application."""
        request = None
        try:
            if not conn.initialized and not conn.wait_for_data(_PATIENCE_SECONDS):
                return _DEFER
            conn.init()
            conn.sock.settimeout(_PATIENCE_SECONDS)
            request = next(conn.parser)
            if self._overload.never_refuses(request.path):
                conn.sock.setblocking(True)
                return self._keepalive_after(conn, self.handle_request(request, conn))
            return self._send_refusal(conn, request)
        except (OSError, StopIteration):
            pass  # it has left, or dawdles
        except Exception as error:  # noqa: BLE001  # as gunicorn does: what is no request is 400
            self.handle_error(request, conn.sock, conn.client, error)
        return _closed(conn)

    def _send_refusal(self, conn: TConn, request: Any) -> object:
        headers = {name.lower(): value for name, value in request.headers}
        keep = self.alive and _is_small(headers) and not request.should_close()
        conn.sock.sendall(self._overload.refusal(headers, keep=keep))
        if keep and conn.parser.finish_body(deadline=time.monotonic() + _PATIENCE_SECONDS):
            return True
        return _closed(conn)


def _is_small(headers: dict[str, str]) -> bool:
    length = headers.get("content-length", "0")
    return "transfer-encoding" not in headers and length.isdecimal() and int(length) <= _SMALL_BODY


def _closed(conn: TConn) -> object:
    """Here, and not in the worker's loop, which would wait for the client to be done."""
    util.close_graceful(conn.sock, timeout=_PATIENCE_SECONDS)
    return _CLOSED
