"""The API's contract (OpenAPI 3.1), generated from what the routes state of themselves."""

import re
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, Final

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask
from marshmallow import INCLUDE, Schema, fields
from werkzeug.routing import Rule

from app.core import idempotency
from app.core.errors import AppError, RangeNotSatisfiable, TooManyRequests, Unavailable
from app.core.examples import answer_of, example_of
from app.core.http import PUBLIC, SIGNED_IN, Endpoint, stated_endpoint
from app.core.streams import EVENT_STREAM
from app.core.tenant_names import CURRENT, HEADER

API_VERSION: Final = "0.1.0"
_ABOUT: Final = """\
A back end with a PostgreSQL database of its own for every tenant.

**Tokens.** `POST /api/auth/login` gives an `access_token`, which the other requests send as
`Authorization: Bearer …`.

**Refusals** are `application/problem+json` (RFC 9457): programs read `code`; `errors` has messages
by field; whoever asks for help quotes `request_id`.

**Pages** are `{"items": […], "next_cursor": …}`; send `next_cursor` as `cursor` for what follows,
until it is null.

**Limits.** `RateLimit` says in each answer how many requests are left; 429 and 503 come with
`Retry-After`.
"""
_PARAMETER: Final = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")
# Of each event (WHATWG HTML, section 9.2); "data" is a JSON document.
_EVENT: Final[dict[str, Any]] = {
    "schema": {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("event", "id", "data")},
        "required": ["event", "data"],
    }
}
_ANY_TYPE: Final = ("application/octet-stream", "*/*")
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_UUID: Final = {"type": "string", "format": "uuid"}
_KINDS: Final = {"uuid": _UUID, "tenant": {"oneOf": [_UUID, {"const": CURRENT}]}}
_TENANT_HEADER: Final[dict[str, Any]] = {
    "in": "header",
    "name": HEADER,
    "schema": {"type": "string"},
}
_UPLOAD: Final = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {"file": {"type": "string", "format": "binary"}},
        }
    }
}

_IF_MATCH: Final = {
    "in": "header",
    "name": "If-Match",
    "description": "ETags that the change is meant for; 412 where it is another by now.",
    "schema": {"type": "string"},
}
_IF_NONE_MATCH: Final = {
    "in": "header",
    "name": "If-None-Match",
    "description": "ETags of what is known already; 304 where it is still one of them.",
    "schema": {"type": "string"},
}
_RANGE: Final = {
    "in": "header",
    "name": "Range",
    "description": "The bytes that are asked for, such as `bytes=0-1023`: 206 with them alone.",
    "schema": {"type": "string"},
}
_RETRY_AFTER: Final = {"description": "Seconds.", "schema": {"type": "integer"}}
_WAIT: Final[dict[type[AppError], dict[str, Any]]] = {
    Unavailable: {"Retry-After": _RETRY_AFTER},
    TooManyRequests: {
        "Retry-After": _RETRY_AFTER,
        "RateLimit": {
            "description": "What is left of each limit, and of one that refuses until when.",
            "schema": {"type": "string"},
        },
        "RateLimit-Policy": {
            "description": "What each limit allows, in so many seconds.",
            "schema": {"type": "string"},
        },
    },
}
_IDEMPOTENCY_KEY: Final = {
    "in": "header",
    "name": idempotency.HEADER,
    "description": (
        "A new random string for each new request. Repeated with the same key, the request is done"
        " once and answered alike; 400 where it is no key, 409 while the first one runs, 422 where"
        " it is another request."
    ),
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^[!#-+\\--:<-\\[\\]-~]+$",
    },
}
_REPLAYED: Final = {
    idempotency.REPLAYED: {
        "description": "`true` where this is the answer to an earlier request with the same key.",
        "schema": {"const": "true"},
    }
}
_ETAG: Final = {"ETag": {"description": "The revision.", "schema": {"type": "string"}}}


class Problem(Schema):
    """RFC 9457; ``code`` is stable, ``errors`` maps fields to messages; some codes tell more."""

    class Meta:
        unknown = INCLUDE

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    code = fields.String(required=True)
    detail = fields.String(required=True)
    request_id = fields.String(required=True)
    errors = fields.Dict()


def generate(app: Flask) -> dict[str, Any]:
    """The whole document."""
    return _spec(app).to_dict()


def generate_yaml(app: Flask) -> str:
    """The whole document as YAML, the same for the same routes."""
    return str(_spec(app).to_yaml())


def _spec(app: Flask) -> APISpec:
    spec = APISpec(
        title="Tenantry",
        version=API_VERSION,
        openapi_version="3.1.0",
        info={"description": _ABOUT},
        plugins=[MarshmallowPlugin()],
    )
    spec.components.security_scheme(
        "bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    )
    for cls in _all_errors():
        spec.components.response(_name_of(cls), _failure(cls))
    spec.components.response(_name_of(AppError), _failure(AppError, "Any other error."))
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        view = app.view_functions[rule.endpoint]
        stated = stated_endpoint(view)
        if stated is not None:
            spec.path(
                _PARAMETER.sub(r"{\g<name>}", rule.rule),
                operations=_operations(rule, stated, view.__doc__ or ""),
            )
    return spec


def _operations(rule: Rule, stated: Endpoint, text: str) -> dict[str, Any]:
    methods = sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    return {method.lower(): _operation(rule, stated, text) for method in methods}


def _operation(rule: Rule, stated: Endpoint, text: str) -> dict[str, Any]:
    summary, _, more = cleandoc(text).partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": rule.endpoint.rpartition(".")[2],
        "tags": [rule.endpoint.partition(".")[0] if "." in rule.endpoint else "system"],
        "summary": " ".join(summary.split()),
        "description": "\n\n".join(filter(None, (more, _who_may(stated)))),
        "x-permission": stated.allow,
        "security": [] if stated.allow == PUBLIC else [{"bearer": []}],
        "parameters": _parameters(rule, stated),
        "responses": _successes(rule, stated) | _failures(rule, stated),
    }
    if stated.deprecated is not None:
        operation["deprecated"] = True
        operation["description"] += f"\n\n{stated.deprecated.text}"
    if stated.body is not None:
        operation["requestBody"] = {
            "required": stated.body_required,
            "content": {
                "application/json": {"schema": stated.body, "example": example_of(stated.body())}
            },
        }
    elif stated.takes_file:
        operation["requestBody"] = {"required": True, "content": _UPLOAD}
    return operation


def _who_may(stated: Endpoint) -> str:
    if stated.allow == PUBLIC:
        return "Open to everybody."
    if stated.allow == SIGNED_IN:
        return "Needs an access token."
    return f"Needs an access token and the permission `{stated.allow}`."


def _parameters(rule: Rule, stated: Endpoint) -> list[dict[str, Any]]:
    path: list[dict[str, Any]] = [
        {
            "in": "path",
            "name": match["name"],
            "required": True,
            "schema": _KINDS.get(match["converter"], {"type": "string"}),
        }
        for match in _PARAMETER.finditer(rule.rule)
    ]
    if "tenant_id" in rule.arguments:
        path.append(_TENANT_HEADER)
    query: list[dict[str, Any]] = (
        [] if stated.query is None else [{"in": "query", "schema": stated.query}]
    )
    headers = [
        (stated.conditional, _IF_MATCH),
        (_may_be_unchanged(rule, stated), _IF_NONE_MATCH),
        (_has_ranges(stated), _RANGE),
        (stated.idempotent, _IDEMPOTENCY_KEY),
    ]
    return path + query + [header for is_read, header in headers if is_read]


def _may_be_unchanged(rule: Rule, stated: Endpoint) -> bool:
    return "GET" in (rule.methods or ()) and (stated.versioned or _has_ranges(stated))


def _has_ranges(stated: Endpoint) -> bool:
    return RangeNotSatisfiable.status in stated.errors


def _successes(rule: Rule, stated: Endpoint) -> dict[str, Any]:
    successes = {str(stated.status): _success(stated)}
    if stated.may_answer_later:
        successes["202"] = _success(stated)
    if _has_ranges(stated):
        successes["206"] = {"description": "Some of the bytes.", "content": _bytes(stated)}
    if _may_be_unchanged(rule, stated):
        successes["304"] = {"description": "Unchanged."}
    return successes


def _bytes(stated: Endpoint) -> dict[str, Any]:
    """Of any type, unless the route states one; generated clients look at the first alone."""
    if stated.gives_file == EVENT_STREAM:
        return {EVENT_STREAM: _EVENT}
    types = [stated.gives_file] if isinstance(stated.gives_file, str) else _ANY_TYPE
    return dict.fromkeys(types, _BINARY)


def _success(stated: Endpoint) -> dict[str, Any]:
    if stated.gives_file:
        return {"description": "The bytes.", "content": _bytes(stated)}
    if stated.returns is None:
        return {"description": "Done."}
    content = {"schema": stated.returns, "example": answer_of(stated.returns())}
    success = {"description": "Done.", "content": {"application/json": content}}
    headers = (_ETAG if stated.versioned else {}) | (_REPLAYED if stated.idempotent else {})
    return success | {"headers": headers} if headers else success


def _failures(rule: Rule, stated: Endpoint) -> dict[str, Any]:
    """One for each status that is likely, and one for all that any route may answer."""
    of_status = {cls.status: cls for cls in reversed(_all_errors())}
    statuses = sorted({*stated.errors, *_of_the_edge(rule, stated)})
    likely = {str(status): _name_of(of_status[status]) for status in statuses}
    return likely | {"default": _name_of(AppError)}


def _of_the_edge(rule: Rule, stated: Endpoint) -> Iterator[int]:
    """What `core.http` refuses before the route is asked, and what no database answers."""
    if rule.arguments:
        yield from (400, 404)
    if stated.query is not None or stated.conditional:
        yield 400
    if stated.query is not None or stated.body is not None:
        yield 422
    if stated.body is not None or stated.takes_file:
        yield from (400, 413, 415)
    if stated.conditional:
        yield 412
    if stated.allow != PUBLIC:
        yield from (401, 503)
    if stated.allow not in {PUBLIC, SIGNED_IN}:
        yield 403
    if stated.transaction is not None:
        yield 503


def _failure(cls: type[AppError], description: str | None = None) -> dict[str, Any]:
    """``code`` is the example's, or a more precise one of the same status: see docs/errors.md."""
    example = cls("What to do about it.").problem("0b6d2f7c9e5a4d31a8f40c1e72b95d63")
    failure: dict[str, Any] = {
        "description": description or cls.title,
        "content": {"application/problem+json": {"schema": Problem, "example": example}},
    }
    return failure | {"headers": _WAIT[cls]} if cls in _WAIT else failure


def _name_of(cls: type[AppError]) -> str:
    """Of the error's answer among the components."""
    return cls.__name__


def _all_errors() -> list[type[AppError]]:
    """Those of ``core.errors``, one for each status."""
    return AppError.__subclasses__()
