"""What is noted of each request when it has been answered: a line in the log, and the figures."""

import logging
import time
from typing import Final

from flask import Flask, Response, g, request

from app.core import metrics, rates
from app.core.caller import Caller

logger = logging.getLogger(__name__)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def init_app(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_finish)


def _begin() -> None:
    g.begun = time.monotonic()


def _finish(response: Response) -> Response:
    """The route and not the address: a signed link is a password, and anybody may write a path."""
    seconds = time.monotonic() - g.begun
    method, rule = request.method, request.url_rule
    if method not in _METHODS:  # a client may send any word
        method = "other"
    route = "none" if rule is None else rule.rule
    status = response.status_code
    metrics.observe_request(method=method, route=route, status=status, seconds=seconds)
    limit = rates.outcome()
    if limit is not None:
        metrics.observe_limit(limit)
    noted: dict[str, object] = {
        "method": method,
        "route": route,
        "status": status,
        "milliseconds": round(seconds * 1000, 1),
        "request_id": g.get("request_id"),
    }
    if limit is not None:
        noted["limit"] = limit
    caller: Caller | None = g.get("caller")
    if caller is not None:
        noted |= {"user": caller.user_id, "tenant": caller.tenant_id}
    logger.info("request", extra=noted)
    return response
