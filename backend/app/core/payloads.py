"""JSON in and out, strictly: what PostgreSQL or a peer could not take is refused here."""

from collections.abc import Mapping

import orjson
from flask import Response, current_app, request

from app.core.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType


def json_body() -> object:
    """The request's JSON document.

    orjson refuses NaN, Infinity, lone surrogates and documents nested over 1,024 deep.

    Raises:
        UnsupportedMediaType: it is not declared as application/json.
        PayloadTooLarge: it is larger than MAX_JSON_BYTES.
        BadRequest: it is not JSON (RFC 8259), or holds a NUL character.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Send the body as application/json.")
    limit: int = current_app.config["MAX_JSON_BYTES"]
    raw = request.stream.read(limit + 1)
    if len(raw) > limit:
        raise PayloadTooLarge(f"The body may have {limit} bytes.")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.args[0]}") from None
    if _holds_nul(document):
        raise BadRequest("The body holds a NUL character, which no text may hold.")
    return document


def query_arguments() -> Mapping[str, str]:
    """The query string's arguments.

    Raises:
        BadRequest: an argument is given twice.
    """
    for name, values in request.args.lists():
        if len(values) > 1:
            raise BadRequest(f"The argument {name} is given more than once.")
    return request.args.to_dict()


def json_response(document: object, *, status: int = 200, mimetype: str | None = None) -> Response:
    return Response(orjson.dumps(document), status=status, mimetype=mimetype or "application/json")


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
