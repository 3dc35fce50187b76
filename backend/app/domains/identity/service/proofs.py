"""Proofs that an account's address is its owner's: a mail carries a token, and the token returns.

The job that sends the mail mints the token, so that it is in no job's arguments and in no event;
only its SHA-256 is stored.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import delete, update

from app.core import clock, events, ids
from app.core.db import MainSession
from app.domains.identity import queries
from app.domains.identity.errors import TokenInvalid
from app.domains.identity.events import EmailVerified
from app.domains.identity.models import AccountToken, User


class Purpose(StrEnum):
    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105  # its name


def mint(
    session: MainSession, *, user: User, purpose: Purpose, seconds: int
) -> tuple[str, datetime]:
    """A new token for the user's present address, and when it expires."""
    token, expires_at = ids.new_token(), clock.now() + timedelta(seconds=seconds)
    session.add(
        AccountToken(
            token_hash=ids.token_hash(token),
            user_id=user.id,
            purpose=purpose,
            email=user.email,
            expires_at=expires_at,
        )
    )
    return token, expires_at


def redeem(session: MainSession, *, token: str, purpose: Purpose) -> User:
    """Uses the token up: its user's address is proven. The user is locked from here on.

    Raises:
        TokenInvalid: unknown, used, expired, for another purpose or another address.
    """
    token_hash = ids.token_hash(token)
    found = queries.account_token(session, token_hash)
    # The user before the tokens, so that two tokens of one user do not wait for each other.
    user = None if found is None else queries.user_for_change(session, found.user_id)
    used = session.scalar(
        update(AccountToken)
        .where(AccountToken.token_hash == token_hash, AccountToken.purpose == purpose)
        .where(AccountToken.used_at.is_(None), AccountToken.expires_at > clock.now())
        .values(used_at=clock.now())
        .returning(AccountToken.email)
    )
    if user is None or not user.active or used != user.email:
        raise TokenInvalid("This link is not valid, was used or has expired; ask for a new one.")
    confirm_address(session, user)
    return user


def confirm_address(session: MainSession, user: User) -> None:
    """The address is proven to be the user's."""
    if user.email_verified_at is None:
        user.email_verified_at = clock.now()
        events.record(session, EmailVerified(user_id=user.id))


def void(session: MainSession, *, user_id: UUID, purpose: Purpose) -> None:
    """None of the user's tokens for the purpose is good any more."""
    session.execute(
        update(AccountToken)
        .where(AccountToken.user_id == user_id, AccountToken.purpose == purpose)
        .where(AccountToken.used_at.is_(None))
        .values(used_at=clock.now())
    )


def forget_expired(session: MainSession) -> None:
    session.execute(delete(AccountToken).where(AccountToken.expires_at < clock.now()))
