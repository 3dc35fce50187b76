"""Signing in and out over HTTP."""

from typing import Any, Final, cast
from uuid import UUID

from flask import Blueprint, current_app, request

from app.core import tokens
from app.core.caller import Caller
from app.core.db import MainSession
from app.core.http import PUBLIC, SIGNED_IN, endpoint
from app.domains.identity import schemas
from app.domains.identity.models import User, UserSession
from app.domains.identity.service import sessions, users
from app.domains.identity.service.passwords import Passwords
from app.settings import Settings

blueprint: Final = Blueprint("identity", __name__)


def _settings() -> Settings:
    return cast("Settings", current_app.extensions["settings"])


def _passwords() -> Passwords:
    return cast("Passwords", current_app.extensions["passwords"])


@blueprint.post("/api/auth/login")
@endpoint(
    allow=PUBLIC,
    transaction="main",
    body=schemas.LogIn,
    returns=schemas.Tokens,
    errors=(401, 422),
)
def log_in(session: MainSession, body: dict[str, str]) -> dict[str, object]:
    """Sign in with e-mail address and password."""
    opened = sessions.log_in(
        session,
        _passwords(),
        _settings(),
        **body,
        address=request.remote_addr,
        user_agent=request.user_agent.string[:500],
    )
    return _tokens(opened)


@blueprint.post("/api/auth/refresh")
@endpoint(
    allow=PUBLIC,
    transaction="main",
    body=schemas.Refresh,
    returns=schemas.Tokens,
    errors=(401, 422),
)
def refresh(session: MainSession, body: dict[str, str]) -> dict[str, object]:
    """Exchange a refresh token for a new pair of tokens; each is used once."""
    return _tokens(sessions.refresh(session, _settings(), token=body["refresh_token"]))


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
    transaction="main",
    body=schemas.ChangePassword,
    status=204,
    errors=(401, 403, 422),
)
def change_password(session: MainSession, caller: Caller, body: dict[str, str]) -> None:
    """Change the caller's password; all other sessions end."""
    users.change_password(
        session, _passwords(), user_id=caller.user_id, session_id=caller.session_id, **body
    )


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


@blueprint.get("/.well-known/jwks.json")
@endpoint(allow=PUBLIC, transaction=None, returns=schemas.KeySet)
def key_set() -> dict[str, Any]:
    """The public keys that verify access tokens."""
    return {
        "keys": [
            {"kid": kid, "use": "sig", "alg": tokens.ALGORITHM, **tokens.public_jwk(key)}
            for kid, key in tokens.current_keys().public_keys().items()
        ]
    }


def _tokens(opened: sessions.Opened) -> dict[str, object]:
    return {
        "access_token": tokens.issue(user_id=opened.user_id, session_id=opened.session_id),
        "refresh_token": opened.refresh_token,
        "token_type": "Bearer",
        "expires_in": _settings().access_token_seconds,
    }
