"""Verbs about accounts."""

from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.core.db import MainSession
from app.core.errors import NotFound
from app.domains.identity import queries
from app.domains.identity.errors import EmailTaken
from app.domains.identity.models import User
from app.domains.identity.service.passwords import Passwords


def create_user(
    session: MainSession,
    passwords: Passwords,
    *,
    email: str,
    name: str,
    password: str,
    platform_role: str | None = None,
) -> User:
    """A new account.

    Raises:
        EmailTaken: somebody has this address.
    """
    user = User(
        email=email.lower(),
        name=name,
        password_hash=passwords.hash(password),
        platform_role=platform_role,
    )
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError as error:
        raise EmailTaken("There is an account with this address.") from error
    return user


def find_by_email(session: MainSession, email: str) -> User | None:
    return queries.user_by_email(session, email)


def get_user(session: MainSession, user_id: UUID) -> User:
    user = queries.user(session, user_id)
    if user is None:
        raise NotFound("There is no such user.")
    return user
