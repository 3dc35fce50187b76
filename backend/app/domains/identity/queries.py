"""Reads of people, sessions and keys."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Select, func, select, text

from app.core import clock
from app.core.db import MainSession
from app.domains.identity.models import (
    AccountToken,
    RefreshToken,
    SentMail,
    SigningKeyRow,
    User,
    UserSession,
)


def user_by_email(session: MainSession, email: str) -> User | None:
    return session.scalar(select(User).where(User.email == email.lower()))


def user(session: MainSession, user_id: UUID) -> User | None:
    return session.get(User, user_id)


def user_for_change(session: MainSession, user_id: UUID) -> User | None:
    """The row as it is now, locked: a session and a change of its password wait for each other."""
    return session.get(User, user_id, with_for_update={"key_share": True}, populate_existing=True)


def users(session: MainSession, user_ids: Collection[UUID]) -> Sequence[User]:
    return session.scalars(select(User).where(User.id.in_(user_ids))).all()


def live_session(session: MainSession, session_id: UUID) -> UserSession | None:
    """The session if it is neither revoked nor expired and its user is active."""
    return session.scalar(
        select(UserSession)
        .join(User, User.id == UserSession.user_id)
        .where(UserSession.id == session_id, UserSession.revoked_at.is_(None), User.active)
        .where(UserSession.expires_at > func.now())
    )


def live_sessions(session: MainSession, user_id: UUID) -> Sequence[UserSession]:
    """Newest first."""
    return session.scalars(
        select(UserSession)
        .where(UserSession.user_id == user_id, UserSession.revoked_at.is_(None))
        .where(UserSession.expires_at > func.now())
        .order_by(UserSession.id.desc())
    ).all()


def expired_sessions(before: datetime) -> Select[UUID]:
    return select(UserSession.id).where(UserSession.expires_at < before)


def refresh_token(session: MainSession, token_hash: bytes) -> RefreshToken | None:
    return session.get(RefreshToken, token_hash)


def account_token(session: MainSession, token_hash: bytes) -> AccountToken | None:
    return session.get(AccountToken, token_hash)


def count_mails(session: MainSession, address: str, *, topic: str, within: timedelta) -> int:
    """How many went to the address lately, about topics that begin so."""
    statement = (
        select(func.count())
        .where(SentMail.address == address, SentMail.topic.startswith(topic, autoescape=True))
        .where(SentMail.created_at > clock.now() - within)
    )
    return session.scalar(statement) or 0


def signing_keys(session: MainSession) -> Sequence[SigningKeyRow]:
    return session.scalars(select(SigningKeyRow)).all()


def signing_keys_for_change(session: MainSession) -> Sequence[SigningKeyRow]:
    """Oldest first; until the transaction ends nobody else changes, adds or removes one."""
    session.execute(text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"))
    return session.scalars(select(SigningKeyRow).order_by(SigningKeyRow.created_at)).all()
