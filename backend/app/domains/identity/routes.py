"""Signing in and out over HTTP."""

from functools import partial
from typing import Any, Final, cast
from uuid import UUID

from flask import Blueprint, Response, after_this_request, current_app, request

from app.core import throttle, tokens
from app.core.caller import Caller
from app.core.db import MainSession
from app.core.http import PUBLIC, SIGNED_IN, OpenPlane, endpoint
from app.core.throttle import Attempt
from app.domains.identity import policy, schemas
from app.domains.identity.models import User, UserSession
from app.domains.identity.service import login, recovery, sessions, users
from app.domains.identity.service.passwords import Passwords
from app.settings import current_settings

blueprint: Final = Blueprint("identity", __name__)


def _passwords() -> Passwords:
    return cast("Passwords", current_app.extensions["passwords"])


@blueprint.post("/api/auth/login")
@endpoint(
    allow=PUBLIC,
    transaction=None,
    body=schemas.LogIn,
    throttle=policy.LOGIN,
    returns=schemas.Tokens,
    errors=(401, 422),
)
def log_in(open_session: OpenPlane, attempt: Attempt, body: dict[str, str]) -> dict[str, object]:
    """Sign in with e-mail address and password."""
    opened = login.log_in(
        _main(open_session),
        _passwords(),
        current_settings(),
        **body,
        account=attempt.account,
        address=request.remote_addr,
        user_agent=request.user_agent.string[:500],
    )
    attempt.succeeded()
    return _tokens(opened)


@blueprint.post("/api/auth/refresh")
@endpoint(
    allow=PUBLIC,
    transaction=None,
    body=schemas.Refresh,
    returns=schemas.Tokens,
    errors=(401, 422),
)
def refresh(open_session: OpenPlane, body: dict[str, str]) -> dict[str, object]:
    """Exchange a refresh token for a new pair of tokens; each is used once."""
    with _main(open_session)() as session:
        opened = sessions.refresh(session, current_settings(), token=body["refresh_token"])
    return _tokens(opened)


@blueprint.post("/api/auth/logout")
@endpoint(allow=SIGNED_IN, transaction="main", status=204, errors=(401,))
def log_out(session: MainSession, caller: Caller) -> None:
    """End this session, for every process from the next request on."""
    sessions.log_out(session, session_id=caller.session_id)


@blueprint.get("/api/auth/sessions")
@endpoint(allow=SIGNED_IN, transaction="main", returns=schemas.SessionList, errors=(401,))
def list_sessions(session: MainSession, caller: Caller) -> dict[str, object]:
    """Where the caller is signed in, newest first."""
    found = sessions.list_sessions(session, user_id=caller.user_id)
    return {"items": found, "current": caller.session_id}


@blueprint.get("/api/auth/current-session")
@endpoint(allow=SIGNED_IN, transaction="main", returns=schemas.Session, errors=(401,))
def get_current_session(session: MainSession, caller: Caller) -> UserSession:
    """The session behind the access token."""
    return sessions.get_session(session, user_id=caller.user_id, session_id=caller.session_id)


@blueprint.delete("/api/auth/sessions/<uuid:session_id>")
@endpoint(allow=SIGNED_IN, transaction="main", status=204, errors=(401, 404))
def end_session(session: MainSession, caller: Caller, session_id: UUID) -> None:
    """End one of the caller's sessions, for every process from the next request on."""
    sessions.end_session(session, user_id=caller.user_id, session_id=session_id)


@blueprint.delete("/api/auth/sessions")
@endpoint(allow=SIGNED_IN, transaction="main", returns=schemas.EndedSessions, errors=(401,))
def end_other_sessions(session: MainSession, caller: Caller) -> dict[str, int]:
    """End all of the caller's sessions but this one."""
    ended = sessions.end_other_sessions(
        session, user_id=caller.user_id, session_id=caller.session_id
    )
    return {"ended": ended}


@blueprint.post("/api/users/me/password")
@endpoint(
    allow=SIGNED_IN,
    transaction=None,
    body=schemas.ChangePassword,
    throttle=policy.CHANGE_PASSWORD,
    status=204,
    errors=(401, 403, 422),
)
def change_password(
    open_session: OpenPlane, attempt: Attempt, caller: Caller, body: dict[str, str]
) -> None:
    """Change the caller's password; all other sessions end."""
    users.change_password(
        _main(open_session),
        _passwords(),
        user_id=caller.user_id,
        session_id=caller.session_id,
        **body,
    )
    attempt.succeeded()


@blueprint.patch("/api/users/me")
@endpoint(
    allow=SIGNED_IN,
    transaction="main",
    body=schemas.Rename,
    returns=schemas.Me,
    errors=(401, 422),
)
def rename_me(session: MainSession, caller: Caller, body: dict[str, str]) -> User:
    """Change the caller's own name."""
    return users.rename(session, user_id=caller.user_id, **body)


@blueprint.get("/api/users/me")
@endpoint(allow=SIGNED_IN, transaction="main", returns=schemas.Me, errors=(401,))
def me(session: MainSession, caller: Caller) -> User:
    """The account behind the access token."""
    return users.get_user(session, caller.user_id)


@blueprint.post("/api/auth/verify-email")
@endpoint(
    allow=PUBLIC, transaction="main", body=schemas.AddressToken, status=204, errors=(404, 422)
)
def verify_email(session: MainSession, body: dict[str, str]) -> None:
    """Show with a mail's token that the account's address is one's own."""
    recovery.verify_email(session, **body)


@blueprint.post("/api/auth/verify-email/resend")
@endpoint(
    allow=PUBLIC,
    transaction="main",
    body=schemas.Address,
    throttle=throttle.sends_mail("verify-email"),
    returns=schemas.Accepted,
    status=202,
    errors=(422,),
)
def resend_verification(session: MainSession, body: dict[str, str]) -> dict[str, str]:
    """Ask for the verifying mail once more; the answer says nothing of the address."""
    recovery.ask_for_verification(session, **body)
    return {"detail": "If an account with this address waits for its verification, a mail follows."}


@blueprint.post("/api/auth/forgot-password")
@endpoint(
    allow=PUBLIC,
    transaction="main",
    body=schemas.Address,
    throttle=throttle.sends_mail("forgot-password"),
    returns=schemas.Accepted,
    status=202,
    errors=(422,),
)
def forgot_password(session: MainSession, body: dict[str, str]) -> dict[str, str]:
    """Ask for a mail that gives a new password; the answer says nothing of the address."""
    recovery.ask_for_reset(session, **body)
    return {"detail": "If there is an account with this address, a mail follows."}


@blueprint.post("/api/auth/reset-password")
@endpoint(
    allow=PUBLIC,
    transaction="main",
    body=schemas.ResetPassword,
    throttle=throttle.hashes_password("reset-password"),
    status=204,
    errors=(404, 422),
)
def reset_password(session: MainSession, attempt: Attempt, body: dict[str, str]) -> None:
    """Choose a new password with a mail's token; all of the account's sessions end."""
    recovery.reset_password(session, _passwords(), **body)
    attempt.succeeded()


@blueprint.get("/.well-known/jwks.json")
@endpoint(allow=PUBLIC, transaction=None, returns=schemas.KeySet)
def key_set() -> dict[str, Any]:
    """The public keys that verify access tokens."""

    @after_this_request
    def cacheable(response: Response) -> Response:
        response.headers["Cache-Control"] = (
            f"public, max-age={current_settings().key_set_max_age_seconds}"
        )
        return response

    return {
        "keys": [
            {"kid": kid, "use": "sig", "alg": tokens.ALGORITHM, **tokens.public_jwk(key)}
            for kid, key in tokens.current_keys().public_keys().items()
        ]
    }


def _main(open_session: OpenPlane) -> login.OpenSession:
    return cast("login.OpenSession", partial(open_session, "main"))


def _tokens(opened: sessions.Opened) -> dict[str, object]:
    """To be called outside of a transaction: the key ring may need a connection of its own."""
    return {
        "access_token": tokens.issue(user_id=opened.user_id, session_id=opened.session_id),
        "refresh_token": opened.refresh_token,
        "token_type": "Bearer",
        "expires_in": current_settings().access_token_seconds,
    }
