"""Verbs about sessions: opening, refreshing, ending.

Refresh tokens rotate (RFC 9700, section 4.14.2): each is used once. Its successor is derived from
it with a key of ours, so that the loser of two parallel uses can be given the same one, and
nothing that opens a session is stored.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, any_, delete, func, literal, update
from sqlalchemy.orm import Session

from app.core import auth_log, clock, events, ids
from app.core.db import MainSession, record_despite
from app.domains.identity import queries
from app.domains.identity.errors import RefreshRefused, SessionNotFound
from app.domains.identity.events import (
    Ended,
    RefreshRejected,
    RefreshReplayed,
    SessionCreated,
    SessionExtended,
    SessionRefreshed,
    SessionRevoked,
)
from app.domains.identity.models import RefreshToken, User, UserSession
from app.settings import Settings

_KEPT_AFTER_THE_END: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Opened:
    """A session and the refresh token that continues it."""

    session_id: UUID
    user_id: UUID
    refresh_token: str


def open_session(
    session: MainSession,
    settings: Settings,
    *,
    user: User,
    method: str,
    address: str | None,
    user_agent: str | None,
    tenant_id: UUID | None = None,
) -> Opened:
    """A new session; ``tenant_id`` is whose directory authenticated it, None for a password."""
    opened = UserSession(
        id=ids.new_id(),
        user_id=user.id,
        method=method,
        tenant_id=tenant_id,
        by_password=tenant_id is None,
        sso_tenant_ids=[] if tenant_id is None else [tenant_id],
        address=address,
        user_agent=user_agent,
        expires_at=clock.now() + timedelta(seconds=settings.session_seconds),
    )
    session.add(opened)
    session.flush()  # the token's row refers to this one
    events.record(
        session, SessionCreated(session_id=opened.id, user_id=user.id, method=opened.method)
    )
    return _with_token(session, opened)


def add_directory(
    session: MainSession, *, user_id: UUID, session_id: UUID, tenant_id: UUID
) -> Opened:
    """A live session of the user's, which the tenant's directory has authenticated as well.

    Raises:
        SessionNotFound: as `get_session`.
    """
    live = get_session(session, user_id=user_id, session_id=session_id)
    if tenant_id not in live.sso_tenant_ids:
        live.sso_tenant_ids = [*live.sso_tenant_ids, tenant_id]
    events.record(
        session, SessionExtended(session_id=live.id, user_id=user_id, tenant_id=tenant_id)
    )
    return _with_token(session, live)


def end_directory(session: MainSession, *, tenant_id: UUID, user_id: UUID | None = None) -> int:
    """The tenant's directory vouches no more, for the user or for anybody; how many that ends.

    A session that was authenticated otherwise as well goes on without it.
    """
    by_directory = literal(tenant_id) == any_(UserSession.sso_tenant_ids)
    statement = update(UserSession).where(by_directory, UserSession.revoked_at.is_(None))
    if user_id is not None:
        statement = statement.where(UserSession.user_id == user_id)
    others = func.array_remove(UserSession.sso_tenant_ids, tenant_id)
    changed = session.scalars(
        statement.values(sso_tenant_ids=others).returning(UserSession.id)
    ).all()
    return _revoke(
        session,
        "ended",
        UserSession.id.in_(changed),
        UserSession.by_password.is_(False),
        func.cardinality(UserSession.sso_tenant_ids) == 0,
    )


def _with_token(session: MainSession, row: UserSession) -> Opened:
    token = ids.new_token()
    session.add(RefreshToken(token_hash=ids.token_hash(token), session_id=row.id))
    return Opened(row.id, row.user_id, token)


def refresh(session: MainSession, settings: Settings, *, token: str) -> Opened:
    """Exchanges a refresh token for its successor.

    Of parallel uses one wins; the others get the same successor for REFRESH_GRACE_SECONDS. Later
    use is a replay: it ends the session.

    Raises:
        RefreshRefused: unknown, expired, revoked, or replayed.
    """
    token_hash, now = ids.token_hash(token), clock.now()
    session_id = session.scalar(
        update(RefreshToken)
        .where(RefreshToken.token_hash == token_hash, RefreshToken.used_at.is_(None))
        .values(used_at=now)
        .returning(RefreshToken.session_id)
    )
    successor = _successor(settings, token)
    if session_id is None:
        session_id = _repeated(session, settings, token_hash)
    else:
        session.add(RefreshToken(token_hash=ids.token_hash(successor), session_id=session_id))
    live = queries.live_session(session, session_id)
    if live is None:
        auth_log.write(RefreshRejected(session_id=session_id, reason="session_ended"))
        raise RefreshRefused("This session has ended; sign in again.")
    live.last_used_at = now
    auth_log.log(
        session,
        SessionRefreshed(session_id=live.id, user_id=live.user_id),
        events.current_origin(),
    )
    return Opened(live.id, live.user_id, successor)


def _repeated(session: MainSession, settings: Settings, token_hash: bytes) -> UUID:
    """The session of a token that was used before, within the grace period."""
    row = queries.refresh_token(session, token_hash)
    if row is None or row.used_at is None:
        auth_log.write(RefreshRejected(session_id=None, reason="unknown"))
        raise RefreshRefused("This refresh token is not known; sign in again.")
    if clock.now() - row.used_at > timedelta(seconds=settings.refresh_grace_seconds):
        replayed = row.session_id

        def end_it(own: Session) -> None:
            events.record(own, RefreshReplayed(session_id=replayed))
            _revoke(own, "replayed", UserSession.id == replayed)

        raise record_despite(
            RefreshRefused("This refresh token was used before; the session was ended."), end_it
        )
    return row.session_id


def log_out(session: MainSession, *, session_id: UUID) -> None:
    """Ends the session; every process refuses its tokens from the next request on."""
    _revoke(session, "logged_out", UserSession.id == session_id)


def list_sessions(session: MainSession, *, user_id: UUID) -> Sequence[UserSession]:
    """Where somebody is signed in, newest first."""
    return queries.live_sessions(session, user_id)


def get_session(session: MainSession, *, user_id: UUID, session_id: UUID) -> UserSession:
    """One of the user's own live sessions.

    Raises:
        SessionNotFound: there is none of this id; another person's is the same as none.
    """
    live = queries.live_session(session, session_id)
    if live is None or live.user_id != user_id:
        raise SessionNotFound("There is no such session.")
    return live


def end_session(session: MainSession, *, user_id: UUID, session_id: UUID) -> None:
    """Ends one of the user's own sessions.

    Raises:
        SessionNotFound: as `get_session`.
    """
    get_session(session, user_id=user_id, session_id=session_id)
    _revoke(session, "ended", UserSession.id == session_id)


def end_other_sessions(
    session: MainSession, *, user_id: UUID, session_id: UUID, reason: Ended = "ended"
) -> int:
    """Ends all of the user's sessions but this one; returns how many those were."""
    return _revoke(
        session,
        reason,
        UserSession.user_id == user_id,
        UserSession.id != session_id,
        UserSession.expires_at > clock.now(),
    )


def end_all_sessions(session: MainSession, *, user_id: UUID, reason: Ended) -> None:
    _revoke(session, reason, UserSession.user_id == user_id, UserSession.expires_at > clock.now())


def purge_sessions(session: MainSession, *, limit: int) -> int:
    """Deletes sessions that expired a day ago, with their refresh tokens; how many of them.

    Until then a late refresh is told that its session has ended.
    """
    old = queries.expired_sessions(clock.now() - _KEPT_AFTER_THE_END).limit(limit)
    result = session.execute(delete(UserSession).where(UserSession.id.in_(old)))
    return int(cast("CursorResult[Any]", result).rowcount)


def _revoke(session: Session, reason: Ended, *which: ColumnElement[bool]) -> int:
    ended = session.execute(
        update(UserSession)
        .where(UserSession.revoked_at.is_(None), *which)
        .values(revoked_at=clock.now())
        .returning(UserSession.id, UserSession.user_id)
    ).all()
    for session_id, user_id in ended:
        events.record(
            session, SessionRevoked(session_id=session_id, user_id=user_id, reason=reason)
        )
    return len(ended)


def _successor(settings: Settings, token: str) -> str:
    key = f"refresh/{settings.secret_key.get_secret_value()}".encode()
    return urlsafe_b64encode(hmac.digest(key, token.encode(), "sha256")).rstrip(b"=").decode()
