"""What is noted of each request when it has been answered."""

import time
from typing import Final

from flask import Flask, Response, g, request

from app.core import metrics

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def init_app(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_finish)


def _begin() -> None:
    g.begun = time.monotonic()


def _finish(response: Response) -> Response:
    metrics.observe_request(
        # A client may send any word as a method, and any path that is no route's.
        method=request.method if request.method in _METHODS else "other",
        route="none" if request.url_rule is None else request.url_rule.rule,
        status=response.status_code,
        seconds=time.monotonic() - g.begun,
    )
    return response
