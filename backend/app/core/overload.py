"""What is told to a request that nobody has time for (``api_worker.py`` decides which that is)."""

import logging
import time
from functools import cache
from threading import Lock
from typing import Final

from flask import Flask, request

from app.core import deadlines, metrics, problems
from app.core.errors import Unavailable
from app.settings import Settings

logger = logging.getLogger(__name__)

_REFUSES: Final = "tenantry.refuses"
# Copies bear the id of their request in its place.
_ID: Final = b"id-of-the-refused-request"
_LENGTH: Final = "Content-Length"
_LOG_EVERY: Final = 1.0
# What has to be known of a process above all when it has too much to do.
_NEVER_REFUSED: Final = frozenset({"/health", "/health/ready", "/metrics"})


class Overloaded(Unavailable):
    """More requests wait than this process can answer in time; this one was not begun.

    Repeat the request after the seconds in Retry-After, and then less and less often.
    """

    code = "overloaded"
    retry_after = 1


class Overload:
    """How long one may wait, and the refusal as it goes over the wire."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self.longest_wait = settings.api_wait_seconds
        self._app = app
        self._origins = frozenset(settings.cors_origins)
        self._refusal = cache(self._made_refusal)
        self._lock = Lock()
        self._logged_at = time.monotonic()
        self._unlogged = 0

    def note_arrival(self, arrived: float) -> None:
        """A request is begun that came then (`time.monotonic`): its deadline counts from there."""
        deadlines.arrived.set(arrived)

    def never_refuses(self, path: str) -> bool:
        return path in _NEVER_REFUSED

    def refusal(self, headers: dict[str, str], *, keep: bool) -> bytes:
        """The whole answer to a request with these headers; ``keep`` says that others may follow.

        The application makes one for each origin that it knows; all others are copies of it.
        """
        self._count()
        origin = headers.get("origin")
        head, body = self._refusal(origin if origin in self._origins else None)
        request_id = problems.request_id_of(headers.get("x-request-id")).encode()
        head, body = (part.replace(_ID, request_id) for part in (head, body))
        connection = b"keep-alive" if keep else b"close"
        end = b"Content-Length: %d\r\nConnection: %b\r\n\r\n" % (len(body), connection)
        return head + end + body

    def _made_refusal(self, origin: str | None) -> tuple[bytes, bytes]:
        headers = {"X-Request-Id": _ID.decode()} | ({} if origin is None else {"Origin": origin})
        with self._app.test_client() as client:
            response = client.get("/", headers=headers, environ_overrides={_REFUSES: True})
        lines = [f"HTTP/1.1 {response.status}"]
        lines += [f"{name}: {value}" for name, value in response.headers if name != _LENGTH]
        return "\r\n".join([*lines, ""]).encode("latin-1"), response.get_data()

    def _count(self) -> None:
        metrics.observe_shed()
        with self._lock:
            self._unlogged += 1
            now = time.monotonic()
            if now - self._logged_at < _LOG_EVERY:
                return
            refused, self._unlogged, self._logged_at = self._unlogged, 0, now
        logger.warning("overloaded: requests were refused", extra={"refused": refused})


def init_app(app: Flask, settings: Settings) -> None:
    app.extensions["overload"] = Overload(app, settings)
    app.before_request(_refuse_where_told)


def _refuse_where_told() -> None:
    if _REFUSES in request.environ:
        raise Overloaded("This process has more to do than it can; nothing was done.")
