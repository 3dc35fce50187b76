"""Signing in with a directory, over HTTP.

The cookie holds no token: it only says that a sign-in ends in the browser that began it.
"""

from functools import partial
from typing import Any, Final, cast
from urllib.parse import urlencode
from uuid import UUID

from flask import Blueprint, Response, current_app, g, request
from markupsafe import escape

from app.core import tokens
from app.core.caller import Caller
from app.core.db import MainSession
from app.core.errors import AppError, BadRequest
from app.core.http import PUBLIC, SIGNED_IN, OpenPlane, current_edge, endpoint
from app.core.payloads import json_response
from app.core.throttle import Attempt
from app.domains.identity.service import login as passwords
from app.domains.identity.service import sessions
from app.domains.identity.service.passwords import Passwords
from app.domains.identity.service.sessions import Opened
from app.domains.sso import policy, schemas
from app.domains.sso.errors import LoginRefused
from app.domains.sso.routes.ports import current_ports
from app.domains.sso.service import arrival, directory, linking, login, refusals
from app.domains.sso.service.admission import Admitted
from app.settings import current_settings

blueprint: Final = Blueprint("sso", __name__, url_prefix="/api/auth/sso")

# Of a refusal; whoever takes both equally is a program.
_ANSWERS: Final = ("application/json", "text/html")


@blueprint.get("/azure/login/<uuid:tenant_id>")
@endpoint(
    allow=PUBLIC,
    transaction=None,
    query=schemas.Login,
    status=302,
    errors=(404, 422, 503),
)
def go_to_directory(tenant_id: UUID, query: dict[str, Any]) -> Response:
    """Go to the tenant's directory to sign in; for browsers, which come back to the callback."""
    away = login.begin(current_ports(), tenant_id=tenant_id, **query)
    answer = _redirect(away.auth_uri)
    answer.set_cookie(
        away.cookie,
        away.secret,
        max_age=away.seconds,
        path="/",
        secure=True,
        httponly=True,
        # A form that another site posts brings no Lax cookie.
        samesite="None" if away.across_sites else "Lax",
    )
    return answer


@blueprint.get("/azure/callback")
@endpoint(
    allow=PUBLIC,
    transaction=None,
    query=schemas.Callback,
    throttle=policy.CALLBACK,
    returns=schemas.SsoTokens,
    errors=(400, 403, 409, 422, 503),
)
def come_back(open_session: OpenPlane, attempt: Attempt, query: dict[str, str]) -> Response:
    """Come back from the directory with its answer, and be signed in.

    Where the sign-in began with ``return_to``, the browser goes there, with a code behind #; with
    ``error``, ``error_description`` and perhaps ``link_token`` where it was refused.
    """
    return _arrive(open_session, attempt, query)


@blueprint.post("/azure/callback")
@endpoint(
    allow=PUBLIC,
    transaction=None,
    throttle=policy.CALLBACK,
    returns=schemas.SsoTokens,
    errors=(400, 403, 409, 422, 503),
)
def come_back_by_form(open_session: OpenPlane, attempt: Attempt) -> Response:
    """The same for a directory that has the browser post its answer (form_post)."""
    if any(len(values) > 1 for values in request.form.listvalues()):
        raise BadRequest("A field is given twice.")
    answer = cast("dict[str, str]", schemas.Callback().load(request.form.to_dict()))
    return _arrive(open_session, attempt, answer)


@blueprint.get("/check-availability/<uuid:tenant_id>")
@endpoint(allow=PUBLIC, transaction=None, returns=schemas.Availability)
def check_availability(tenant_id: UUID) -> dict[str, object]:
    """Whether the tenant's members can sign in with a directory, and where."""
    available = directory.available(tenant_id=tenant_id)
    url = f"{current_settings().public_url}{blueprint.url_prefix}/azure/login/{tenant_id}"
    return {"available": available, "login_url": url if available else None}


@blueprint.post("/detect")
@endpoint(
    allow=PUBLIC, transaction=None, body=schemas.Detect, returns=schemas.Detected, errors=(422,)
)
def detect(body: dict[str, str]) -> dict[str, object]:
    """Where people with such an e-mail address sign in; an empty list for a password."""
    return {"items": directory.login_addresses(current_ports(), **body)}


@blueprint.post("/token")
@endpoint(
    allow=PUBLIC,
    transaction=None,
    body=schemas.Exchange,
    throttle=policy.TOKEN,
    returns=schemas.SsoTokens,
    errors=(400, 401, 404, 422, 503),
)
def exchange_code(
    open_session: OpenPlane, attempt: Attempt, body: dict[str, str]
) -> dict[str, object]:
    """Exchange the code that a page was given for tokens.

    With an access token of the same person, its session is the one that is authenticated further.
    """
    ports, authorization = current_ports(), request.headers.get("Authorization")
    admitted = arrival.redeem(ports, **body)
    attempt.succeeded()
    if authorization is None:
        return _tokens(_open(open_session, admitted))
    caller = current_edge().identify(authorization, None, any_state=False)
    with _main(open_session)() as session:
        opened = arrival.extend_session(session, admitted, session_id=caller.session_id)
    return _tokens(opened)


@blueprint.post("/link")
@endpoint(
    allow=PUBLIC,
    transaction=None,
    body=schemas.Link,
    throttle=policy.LINK,
    returns=schemas.SsoTokens,
    errors=(400, 401, 403, 422, 503),
)
def link_account(
    open_session: OpenPlane, attempt: Attempt, body: dict[str, str]
) -> dict[str, object]:
    """Join an account, by its password, with the person whom a directory has just proven."""
    ports, main = current_ports(), _main(open_session)
    opened = passwords.log_in(
        main,
        cast("Passwords", current_app.extensions["passwords"]),
        ports.settings,
        email=body["email"],
        password=body["password"],
        account=attempt.account,
        **_client(),
    )
    attempt.succeeded()
    try:
        with refusals.told(address=request.remote_addr) as about:
            proven = linking.take(ports, body["link_token"])
            about.tenant_id = proven.tenant_id
            opened = linking.link(ports, proven, opened)
    except Exception:
        with main() as session:
            sessions.log_out(session, session_id=opened.session_id)
        raise
    return _tokens(opened)


@blueprint.post("/azure/logout")
@endpoint(allow=SIGNED_IN, transaction="main", returns=schemas.LoggedOut, errors=(401, 404))
def log_out_of_directory(session: MainSession, caller: Caller) -> dict[str, object]:
    """End this session, and learn where to end the directory's own."""
    url = directory.log_out(
        session, current_ports(), user_id=caller.user_id, session_id=caller.session_id
    )
    return {"logout_url": url}


def _arrive(open_session: OpenPlane, attempt: Attempt, answer: dict[str, str]) -> Response:
    try:
        arrived = login.finish(
            current_ports(), answer=answer, cookie=request.cookies.get, address=request.remote_addr
        )
    except LoginRefused as error:
        if request.accept_mimetypes.best_match(_ANSWERS) != "text/html":
            raise
        return _told(cast("AppError", error), error.return_to)
    attempt.succeeded()
    if arrived.tested is not None or arrived.admitted is None:
        response = json_response({"tested": True}, status=200)
    elif arrived.return_to is None:
        response = json_response(_tokens(_open(open_session, arrived.admitted)), status=200)
    else:
        code = arrival.hand_out(
            current_ports(), arrived.admitted, code_challenge=arrived.code_challenge
        )
        response = _redirect(f"{arrived.return_to}#{urlencode({'code': code})}")
    response.delete_cookie(
        login.cookie_of(answer["state"]), path="/", secure=True, httponly=True, samesite="Lax"
    )
    return response


def _told(error: AppError, return_to: str | None) -> Response:
    """The refusal, for a browser: its status, and at once the page that the person came from."""
    problem = error.problem(g.request_id)
    told = {"error": error.code, "error_description": error.detail}
    told |= {name: str(problem[name]) for name in ("link_token",) if name in problem}
    refresh = link = ""
    if return_to is not None:
        address = escape(f"{return_to}#{urlencode(told)}")
        refresh = f'<meta http-equiv="refresh" content="0;url={address}">'
        link = f' <a href="{address}">Go on</a>'
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Not signed in</title>'
        f"{refresh}<h1>Not signed in</h1><p>{escape(error.detail)}{link}</p></html>"
    )
    return Response(page, status=error.status, mimetype="text/html")


def _open(open_session: OpenPlane, admitted: Admitted) -> Opened:
    with _main(open_session)() as session:
        return arrival.open_session(session, current_ports(), admitted, **_client())


def _client() -> dict[str, str | None]:
    return {"address": request.remote_addr, "user_agent": request.user_agent.string[:500]}


def _redirect(address: str) -> Response:
    return Response(status=302, headers={"Location": address}, mimetype="application/json")


def _main(open_session: OpenPlane) -> passwords.OpenSession:
    return cast("passwords.OpenSession", partial(open_session, "main"))


def _tokens(opened: Opened) -> dict[str, object]:
    """To be called outside of a transaction: the key ring may need a connection of its own."""
    return {
        "access_token": tokens.issue(user_id=opened.user_id, session_id=opened.session_id),
        "refresh_token": opened.refresh_token,
        "token_type": "Bearer",
        "expires_in": current_settings().access_token_seconds,
    }
