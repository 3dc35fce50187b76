"""Verbs about accounts."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.core.db import MainSession
from app.core.errors import NotFound
from app.domains.identity import queries
from app.domains.identity.errors import EmailTaken, WrongPassword
from app.domains.identity.models import User
from app.domains.identity.service import sessions
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


def rename(session: MainSession, *, user_id: UUID, name: str) -> User:
    user = get_user(session, user_id)
    user.name = name
    return user


def change_password(
    session: MainSession,
    passwords: Passwords,
    *,
    user_id: UUID,
    session_id: UUID,
    current_password: str,
    new_password: str,
) -> None:
    """Changes the password and ends all of the user's other sessions.

    Raises:
        WrongPassword: the present password is another one, or there is none.
    """
    user = get_user(session, user_id)
    if not passwords.matches(user.password_hash, current_password):
        raise WrongPassword("The present password is not this one.")
    user.password_hash = passwords.hash(new_password)
    sessions.end_other_sessions(session, user_id=user_id, session_id=session_id)


def find_by_email(session: MainSession, email: str) -> User | None:
    return queries.user_by_email(session, email)


def get_users(session: MainSession, user_ids: Collection[UUID]) -> dict[UUID, User]:
    """Those of the users that exist, by their ids."""
    return {user.id: user for user in queries.users(session, user_ids)}


def get_user(session: MainSession, user_id: UUID) -> User:
    user = queries.user(session, user_id)
    if user is None:
        raise NotFound("There is no such user.")
    return user
