"""What is noted of each request when it has been answered: a line in the log, and the figures."""

import logging
import time
from contextlib import ExitStack
from typing import Final

from flask import Flask, Response, g, request

from app.core import metrics, rates, tracing
from app.core.caller import Caller

logger = logging.getLogger(__name__)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def init_app(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_finish)
    app.teardown_request(_end_span)


def _begin() -> None:
    g.begun = time.monotonic()
    if tracing.is_on():
        told = {"http.request.method": _method(), "http.route": _route()}
        g.tracing = stack = ExitStack()
        g.span = stack.enter_context(
            tracing.span(
                f"{_method()} {_route()}",
                kind="server",
                parent=request.headers.get("traceparent"),
                attributes=told,
            )
        )


def _end_span(error: BaseException | None) -> None:
    if (stack := g.pop("tracing", None)) is not None:
        stack.__exit__(error and type(error), error, error and error.__traceback__)


def _method() -> str:
    """A client may send any word."""
    return request.method if request.method in _METHODS else "other"


def _route() -> str:
    """And not the address: a signed link is a password, and anybody may write a path."""
    return "none" if request.url_rule is None else request.url_rule.rule


def _finish(response: Response) -> Response:
    seconds = time.monotonic() - g.begun
    method, route, status = _method(), _route(), response.status_code
    if (span := g.get("span")) is not None:
        span.set_attribute("http.response.status_code", status)
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
