"""Turns every exception of a request into application/problem+json (RFC 9457)."""

import logging
import re
from os import urandom
from typing import Final

from flask import Flask, Response, g, request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from app.core import errors, payloads

logger = logging.getLogger(__name__)

# Long enough to be made up by a program, and nothing that means anything in a log or a header.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{16,64}\Z")

# SQLSTATE classes that pass by themselves: connection, resources, operator intervention,
# rollback of a transaction; 55P03 is a lock that was not to be had in time.
_PASSING: Final = ("08", "53", "57", "40", "55P03", "28", "3D")

_OF_STATUS: Final = {
    cls.status: cls
    for cls in (
        errors.BadRequest,
        errors.NotFound,
        errors.MethodNotAllowed,
        errors.PayloadTooLarge,
        errors.UnsupportedMediaType,
        errors.RangeNotSatisfiable,
    )
}


def init_app(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_finish)
    app.register_error_handler(errors.AppError, _app_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(DBAPIError, _database_error)
    app.register_error_handler(PoolTimeout, _pool_timeout)
    app.register_error_handler(Exception, _unexpected)


def _begin() -> None:
    environ = request.environ
    g.request_id = request_id_of(environ.get("HTTP_X_REQUEST_ID"))
    if "\x00" in environ["PATH_INFO"] or "%00" in environ.get("QUERY_STRING", ""):
        raise errors.BadRequest("The address holds a NUL character.")


def request_id_of(given: str | None) -> str:
    """What the caller chose, where that is an id; else a new one."""
    return given if given is not None and _REQUEST_ID.match(given) else urandom(16).hex()


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.get("request_id", "")
    return response


def _app_error(error: errors.AppError) -> Response:
    if error.status >= errors.AppError.status:
        logger.warning(error.detail, extra={"code": error.code, "request_id": g.request_id})
    response = payloads.json_response(
        error.problem(g.request_id), status=error.status, mimetype="application/problem+json"
    )
    response.headers.update(error.headers)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.Unauthenticated):
        response.headers["WWW-Authenticate"] = 'Bearer realm="tenantry"'  # RFC 6750, section 3
    return response


def _http_error(error: HTTPException) -> Response:
    if isinstance(error, RequestRedirect):
        return Response(status=error.code, headers={"Location": error.new_url})
    cls = _OF_STATUS.get(error.code or 500, errors.BadRequest)
    if error.code is None or error.code >= errors.AppError.status:
        return _unexpected(error)
    response = _app_error(cls(error.description or cls.title))
    for name, value in error.get_headers():
        if name in {"Allow", "Content-Range"}:
            response.headers[name] = value
    return response


def _database_error(error: DBAPIError) -> Response:
    """A lost or exhausted server is 503; a statement that is wrong is ours, and 500."""
    sqlstate = getattr(error.orig, "sqlstate", None)
    lost = error.connection_invalidated or (sqlstate is None and _is_operational(error))
    if lost or (sqlstate or "").startswith(_PASSING):
        logger.warning("database unavailable", extra={"sqlstate": sqlstate})
        return _app_error(errors.Unavailable("A database cannot be reached just now."))
    return _unexpected(error)


def _is_operational(error: DBAPIError) -> bool:
    return type(error.orig).__name__ in {"OperationalError", "ConnectionTimeout"}


def _pool_timeout(_error: PoolTimeout) -> Response:
    return _app_error(errors.Unavailable("All connections to the database are in use."))


def _unexpected(error: Exception) -> Response:
    logger.error("unexpected error", exc_info=error, extra={"request_id": g.request_id})
    return _app_error(errors.AppError("Something went wrong on our side; quote the request_id."))
