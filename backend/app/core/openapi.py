"""The API's contract (OpenAPI 3.1), generated from what the routes state of themselves."""

import re
from inspect import cleandoc
from typing import Any, Final

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask
from marshmallow import Schema, fields
from werkzeug.routing import Rule

from app.core import idempotency
from app.core.errors import AppError, TooManyRequests
from app.core.examples import example_of
from app.core.http import PUBLIC, SIGNED_IN, Endpoint, stated_endpoint
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
_BINARY: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
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
_WAIT: Final = {
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}},
    "RateLimit": {
        "description": "What is left of each limit, and of one that refuses until when.",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": "What each limit allows, in so many seconds.",
        "schema": {"type": "string"},
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
    """RFC 9457; ``code`` is stable, ``errors`` maps fields to messages."""

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
        "responses": _successes(stated) | _failures(stated),
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
    headers = [_IF_MATCH] if stated.conditional else []
    if stated.idempotent:
        headers.append(_IDEMPOTENCY_KEY)
    return path + query + headers


def _successes(stated: Endpoint) -> dict[str, Any]:
    later = {"202": _success(stated)} if stated.may_answer_later else {}
    return {str(stated.status): _success(stated)} | later


def _success(stated: Endpoint) -> dict[str, Any]:
    if stated.gives_file:
        return {"description": "The bytes.", "content": _BINARY}
    if stated.returns is None:
        return {"description": "Done."}
    success = {"description": "Done.", "content": {"application/json": {"schema": stated.returns}}}
    headers = (_ETAG if stated.versioned else {}) | (_REPLAYED if stated.idempotent else {})
    return success | {"headers": headers} if headers else success


def _failures(stated: Endpoint) -> dict[str, Any]:
    """One for each status that is likely, and one for all that any route may answer."""
    of_status = {cls.status: cls for cls in reversed(_all_errors())}
    likely = {str(status): _failure(of_status[status]) for status in sorted(set(stated.errors))}
    return likely | {"default": _failure(AppError, "Any other error.")}


def _failure(cls: type[AppError], description: str | None = None) -> dict[str, Any]:
    """``code`` is the example's, or a more precise one of the same status: see docs/errors.md."""
    example = cls("What to do about it.").problem("0b6d2f7c9e5a4d31a8f40c1e72b95d63")
    failure: dict[str, Any] = {
        "description": description or cls.title,
        "content": {"application/problem+json": {"schema": Problem, "example": example}},
    }
    return failure | {"headers": _WAIT} if cls is TooManyRequests else failure


def _all_errors() -> list[type[AppError]]:
    """Those of ``core.errors``, one for each status."""
    return AppError.__subclasses__()
