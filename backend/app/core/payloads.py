"""JSON in and out, strictly: what PostgreSQL or a peer could not take is refused here."""

import json
from collections.abc import Mapping
from typing import Final
from wsgiref.types import WSGIEnvironment

import orjson
from flask import Response, current_app, request
from werkzeug.datastructures import Headers

from app.core.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType

_OK: Final = 200


def json_body() -> object:
    """The request's JSON document; see `json_bytes` and `document`."""
    return document(json_bytes())


def json_bytes() -> bytes:
    """The request's body.

    Raises:
        UnsupportedMediaType: it is not declared as application/json.
        PayloadTooLarge: it is larger than MAX_JSON_BYTES.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Send the body as application/json.")
    limit: int = current_app.config["MAX_JSON_BYTES"]
    told = (request.content_length or 0) > limit
    raw = b"" if told else read_body(limit + 1)
    if told or len(raw) > limit:
        raise PayloadTooLarge(f"The body may have {limit} bytes.")
    return raw


def document(raw: bytes) -> object:
    """What the JSON says.

    orjson refuses NaN, Infinity, lone surrogates and documents nested over 1,024 deep, but of a
    name that is given twice it keeps one value, and another reader the other (RFC 7493, 2.3).

    Raises:
        BadRequest: it is not JSON (RFC 8259), repeats a name, or holds a NUL character.
    """
    try:
        parsed = orjson.loads(raw)
        json.loads(raw, object_pairs_hook=_refuse_repetition)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not JSON: {error.args[0]}") from None
    if _holds_nul(parsed):
        raise BadRequest("The body holds a NUL character, which no text may hold.")
    return parsed


def no_body() -> bool:
    """The request neither brings nor declares a body (RFC 9112, section 6.3)."""
    return not (
        request.content_length or request.mimetype or "Transfer-Encoding" in request.headers
    )


def read_body(size: int) -> bytes:
    """Up to this many bytes of the request's body; none at its end.

    Raises:
        BadRequest: the client went away, or sends chunks that are none (RFC 9112, section 7.1).
    """
    try:
        return request.stream.read(size)
    except Exception as error:  # each WSGI server has errors of its own for this
        raise BadRequest("The body breaks off.") from error


def query_arguments(*, repeatable: frozenset[str] = frozenset()) -> Mapping[str, object]:
    """The query string's arguments; those that are ``repeatable`` as lists.

    Raises:
        BadRequest: another argument is given twice.
    """
    arguments: dict[str, object] = {}
    for name, values in request.args.lists():
        if name in repeatable:
            arguments[name] = values
        elif len(values) > 1:
            raise BadRequest(f"The argument {name} is given more than once.")
        else:
            arguments[name] = values[0]
    return arguments


class JsonResponse(Response):
    """Its headers are sent as they are, where none names a place that has to be made absolute."""

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        if self.status_code != _OK or "Location" in self.headers:
            return super().get_wsgi_headers(environ)
        return self.headers


def json_response(document: object, *, status: int = 200, mimetype: str | None = None) -> Response:
    # Marshmallow names a list's items by number.
    body = orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)
    return JsonResponse(body, status=status, mimetype=mimetype or "application/json")


def _refuse_repetition(members: list[tuple[str, object]]) -> None:
    if len(dict(members)) < len(members):
        raise ValueError("a name is given twice")


def _holds_nul(document: object) -> bool:
    """Walks without recursion: depth is the sender's choice."""
    pending = [document]
    while pending:
        part = pending.pop()
        if isinstance(part, str):
            if "\x00" in part:
                return True
        elif isinstance(part, dict):
            pending += [*part, *part.values()]
        elif isinstance(part, list):
            pending += part
    return False
