"""The edge: what every route shares, stated once beside the route.

``@endpoint`` answers, in this order: who is it, may they, what do they send, how often, which
transaction; then it calls the view and writes its result. The answers come from an `Edge` that the
factory provides, so this module knows no domain.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, wraps
from typing import Any, Final, Literal, Protocol, cast

from flask import Response, after_this_request, current_app, g, request
from marshmallow import Schema, ValidationError, fields
from sqlalchemy.orm import Session

from app.core import auth_log, conditions, deadlines, events, idempotency, payloads, rates, refusals
from app.core.caller import Caller, NotAMember
from app.core.db import record_despite
from app.core.deprecation import Deprecation
from app.core.dumping import Dump, dumper
from app.core.errors import AppError, Forbidden, Unprocessable
from app.core.events import Origin, originating
from app.core.idempotency import Once, OnceByKey, give_back
from app.core.logs import log_context
from app.core.multipart import IncomingFile, incoming_file
from app.core.tenant_names import TenantName, current_tenant_names
from app.core.throttle import Attempt, Throttle, Throttled, current_counters

# On "tenant_reads" no transaction is opened: each statement stands alone, and none may write.
# "tenant_rows" is the same for questions alone (`core.questions`), at a fraction of the price.
Plane = Literal["main", "tenant", "tenant_reads", "tenant_rows"]
# Opens one transaction on a plane, in the caller's name.
OpenPlane = Callable[[Plane], AbstractContextManager[Session]]

# The two policies that are not permissions.
PUBLIC: Final = "public"
SIGNED_IN: Final = "signed_in"


class Edge(Protocol):
    """What the factory wires into the edge."""

    def identify(
        self, authorization: str | None, tenant: TenantName | None, *, any_state: bool
    ) -> Caller:
        """The caller behind an Authorization header.

        Raises:
            Unauthenticated: no live session behind it.
            NotFound: the caller is no member of the tenant.
            TenantMismatch: the tenant's names are not of the same one.
            Forbidden, Unavailable: the tenant's state bars it, unless ``any_state``.
        """
        ...

    def open_session(self, plane: Plane, caller: Caller | None) -> AbstractContextManager[Session]:
        """One transaction on the plane, in the caller's name; `Plane` says where there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """What a route states of itself: its policy, its schemas, its transaction."""

    allow: str
    transaction: Plane | None
    any_state: bool
    body: type[Schema] | None
    body_required: bool
    query: type[Schema] | None
    returns: type[Schema] | None
    status: int
    may_answer_later: bool
    errors: tuple[int, ...]
    throttle: Throttle | None
    limited: bool
    takes_file: bool
    gives_file: bool | str
    versioned: bool
    conditional: bool
    deprecated: Deprecation | None
    idempotent: bool

    @cached_property
    def dump(self) -> Dump:
        """What ``returns`` makes of a result; the schema is made once."""
        if self.returns is None:
            raise TypeError("a route without a schema has nothing to dump")
        return dumper(_instance(self.returns))

    @property
    def time_limit(self) -> deadlines.Limit | None:
        """How long it may take; of what carries files, its client decides."""
        if self.takes_file or self.gives_file:
            return None
        return cast("deadlines.Limit", current_app.config["TIME_LIMIT"])


def endpoint(
    *,
    allow: str,
    transaction: Plane | None,
    any_state: bool = False,
    body: type[Schema] | None = None,
    body_required: bool = True,
    query: type[Schema] | None = None,
    returns: type[Schema] | None = None,
    status: int = 200,
    may_answer_later: bool = False,
    errors: tuple[int, ...] = (),
    throttle: Throttle | None = None,
    limited: bool = True,
    takes_file: bool = False,
    gives_file: bool | str = False,
    versioned: bool = False,
    deprecated: Deprecation | None = None,
    idempotent: bool | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Response]]:
    """Makes a view of a function that asks by name for what it needs.

    The function may take ``session``, ``caller``, ``body``, ``query``, ``file``, ``open_session``,
    ``if_match``, ``attempt``, ``once`` and the parameters of its path. ``allow`` is PUBLIC,
    SIGNED_IN or a permission, ``resource:action``. ``transaction=None`` is for work with several
    short transactions: the function gets ``open_session`` and hands it to its verb. ``any_state``
    is for routes that answer for a tenant that is suspended or has no database yet. A body that is
    not required may be left out: it is then an empty one. ``throttle`` limits how often: too often
    is 429, and 503 where it cannot be counted. ``limited=False`` leaves the route out of the limits
    that all requests share. A ``versioned`` result has a ``revision``, which becomes its ETag.
    ``may_answer_later`` and ``gives_file`` (True, or the one media type) only document what the
    view does itself. A ``deprecated`` route says so in each answer. ``idempotent``, by default
    where it creates for a known caller: see `core.idempotency`.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Response]:
        wanted = frozenset(inspect.signature(view).parameters)
        takes_key = idempotent if idempotent is not None else _creates(allow, status)
        stated = Endpoint(
            allow=allow,
            transaction=transaction,
            any_state=any_state,
            body=body,
            body_required=body_required,
            query=query,
            returns=returns,
            status=status,
            may_answer_later=may_answer_later,
            errors=_all_errors(errors, throttle, limited=limited, takes_key=takes_key),
            throttle=throttle,
            limited=limited,
            takes_file=takes_file,
            gives_file=gives_file,
            versioned=versioned,
            conditional="if_match" in wanted,
            deprecated=deprecated,
            idempotent=takes_key,
        )
        return _wrapped(view, stated, wanted)

    return decorate


def _creates(allow: str, status: int) -> bool:
    return allow != PUBLIC and status in {201, 202}


def _all_errors(
    errors: tuple[int, ...], throttle: Throttle | None, *, limited: bool, takes_key: bool
) -> tuple[int, ...]:
    if takes_key:
        errors = (*errors, 400, 409, 422)
    if throttle is not None:
        return (*errors, 429, 503)
    return (*errors, 429) if limited else errors


def _wrapped(
    view: Callable[..., Any], stated: Endpoint, wanted: frozenset[str]
) -> Callable[..., Response]:
    @wraps(view)
    def wrapper(**path: Any) -> Response:
        if stated.deprecated is not None:
            after_this_request(stated.deprecated.tell)
        with log_context(request_id=g.request_id), deadlines.kept(stated.time_limit):
            try:
                caller = _admit(stated, path)
                with log_context(**_who(caller)), originating(_origin(caller, stated)):
                    given = {"caller": caller, **path, **_payloads(stated)}
                    return _done_once(stated, view, given, wanted)
            except (Forbidden, NotAMember) as error:
                refusals.record_refusal(error, stated.allow)
                raise

    wrapper.endpoint = stated  # type: ignore[attr-defined]
    return wrapper


def stated_endpoint(view: Callable[..., Any]) -> Endpoint | None:
    """What ``@endpoint`` recorded on a view, or None for a view without it."""
    return cast("Endpoint | None", getattr(view, "endpoint", None))


def current_edge() -> Edge:
    return cast("Edge", current_app.extensions["edge"])


def _admit(stated: Endpoint, path: dict[str, Any]) -> Caller | None:
    """The caller, who may do this; the path's tenant is the one that it stands for."""
    if stated.allow == PUBLIC:
        _limit(stated, None)
        return None
    try:
        tenant = current_tenant_names().of(request, path.get("tenant_id"))
        caller = g.caller = current_edge().identify(
            request.environ.get("HTTP_AUTHORIZATION"), tenant, any_state=stated.any_state
        )
    except AppError:
        _limit(stated, None)
        raise
    _limit(stated, caller)
    if stated.allow != SIGNED_IN and not caller.allows(stated.allow):
        if tenant is not None and caller.role is None:  # no member: nothing in it exists
            raise NotAMember(user_id=caller.user_id, session_id=caller.session_id)
        raise Forbidden(f"This needs the permission {stated.allow}.")
    if tenant is not None:
        path["tenant_id"] = caller.tenant_id
    return caller


def _limit(stated: Endpoint, caller: Caller | None) -> None:
    """Who is not known counts for the address alone."""
    if stated.limited:
        rates.count_request(caller)


def _who(caller: Caller | None) -> dict[str, object]:
    if caller is None:
        return {}
    who: dict[str, object] = {"user": caller.user_id}
    return who if caller.tenant_id is None else who | {"tenant": caller.tenant_id}


def _origin(caller: Caller | None, stated: Endpoint) -> Origin:
    """A permission that is held without a role in a tenant is the platform's."""
    without_role = caller is not None and caller.role is None
    return Origin(
        user_id=None if caller is None else caller.user_id,
        session_id=None if caller is None else caller.session_id,
        address=request.remote_addr,
        request_id=g.request_id,
        by_platform=without_role and stated.allow not in {PUBLIC, SIGNED_IN},
    )


def _payloads(stated: Endpoint) -> dict[str, object]:
    loaded: dict[str, object] = {}
    if stated.query is not None:
        known = _load_query(stated.query, request.query_string)
        loaded["query"] = {k: [*v] if type(v) is list else v for k, v in known.items()}
    if stated.body is not None:
        absent = not stated.body_required and payloads.no_body()
        raw = loaded["raw"] = b"{}" if absent else payloads.json_bytes()
        loaded["body"] = _load(stated.body, payloads.document(raw))
    if stated.takes_file:
        loaded["file"] = incoming_file(limit=current_app.config["MAX_UPLOAD_BYTES"])
    if stated.conditional:
        loaded["if_match"] = conditions.if_match()
    return loaded


@lru_cache(maxsize=512)
def _load_query(schema: type[Schema], _query_string: bytes) -> Mapping[str, object]:
    """Of the current request: programs send the same query again and again."""
    arguments = payloads.query_arguments(repeatable=_lists(schema))
    return cast("Mapping[str, object]", _load(schema, arguments))


@cache
def _lists(schema: type[Schema]) -> frozenset[str]:
    declared = _instance(schema).load_fields.items()
    return frozenset(
        field.data_key or name for name, field in declared if isinstance(field, fields.List)
    )


@cache
def _instance(schema: type[Schema]) -> Schema:
    """Making one copies every field; loading and dumping change none of them."""
    return schema()


def _load(schema: type[Schema], payload: object) -> object:
    try:
        return _instance(schema).load(cast("Any", payload))
    except ValidationError as error:
        raise Unprocessable(
            "Some fields are not acceptable; see errors.",
            errors=error.normalized_messages(),  # type: ignore[no-untyped-call]
        ) from None


def _once(stated: Endpoint, caller: Caller | None, given: dict[str, Any]) -> Once:
    key = idempotency.given_key() if stated.idempotent else None
    if key is None or caller is None:
        return Once()
    plane = stated.transaction or ("main" if caller.location is None else "tenant")
    edge = current_edge()
    return OnceByKey(
        key,
        caller=caller,
        body=given.get("raw", b""),
        file=cast("IncomingFile | None", given.get("file")),
        open_session=lambda: edge.open_session(plane, caller),
        dump=lambda result: _answer(stated, result),
    )


def _done_once(
    stated: Endpoint, view: Callable[..., Any], given: dict[str, Any], wanted: frozenset[str]
) -> Response:
    once = given["once"] = _once(stated, given["caller"], given)
    once.begin()
    if once.answer is not None:  # not one more attempt, so it is not counted
        return once.answer
    try:
        given["attempt"] = _count(stated, given["caller"], given.get("body"))
        return once.end(_call(stated, view, given, wanted))
    except BaseException as error:
        give_back(once, error)
        raise


def _count(stated: Endpoint, caller: Caller | None, body: Any) -> Attempt | None:
    if stated.throttle is None:
        return None
    account = stated.throttle.account_of(body) if caller is None else str(caller.user_id)
    try:
        return current_counters().admit(
            stated.throttle, account=account, address=request.remote_addr
        )
    except Throttled as error:
        event = error.event
        if not error.first:
            auth_log.write(event)
            raise
        with current_edge().open_session("main", caller):
            raise record_despite(error, lambda own: events.record(own, event)) from None


def _call(
    stated: Endpoint,
    view: Callable[..., Any],
    given: dict[str, Any],
    wanted: frozenset[str],
) -> Response:
    edge, caller = current_edge(), given["caller"]
    if stated.transaction is None:
        given["open_session"] = lambda plane: edge.open_session(plane, caller)
        opened: AbstractContextManager[Session | None] = nullcontext()
    else:
        opened = edge.open_session(stated.transaction, caller)
    with opened as session:
        given["session"] = session
        result = view(**{name: value for name, value in given.items() if name in wanted})
        # Dumped inside the transaction: a row's attributes may still be read.
        response = _answer(stated, result)
        if session is not None:
            given["once"].remember(session, response)
        return response


def _answer(stated: Endpoint, result: object) -> Response:
    if isinstance(result, Response):
        return result
    if stated.returns is None:
        return Response(status=stated.status, mimetype="application/json")
    response = payloads.json_response(stated.dump(result), status=stated.status)
    if stated.versioned:
        response.set_etag(str(cast("Any", result).revision))
        if request.method in {"GET", "HEAD"}:
            response.make_conditional(request)
    return response
